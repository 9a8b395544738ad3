// fast-gateway as its README starts it.
import gateway from 'fast-gateway';

const [target, port] = process.argv.slice(2);
gateway({ routes: [{ prefix: '', prefixRewrite: '', target }] }).start(Number(port), '127.0.0.1');
