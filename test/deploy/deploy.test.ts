import { readFileSync } from 'node:fs';
import t from 'tap';
import { parse, parseAllDocuments } from 'yaml';
import { readAddress, readUpstream } from '../../src/config/addresses.js';
import { fileOption, options } from '../../src/config/options.js';
import { readDuration } from '../../src/config/units.js';

const fromRoot = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

type Environment = Readonly<Record<string, string>>;

/** A Dockerfile's instructions in order: comments dropped, continued lines joined, `args` as they are written. */
function instructions(text: string): { name: string; args: string }[] {
  const joined = text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '');
  return joined.split('\n').map((line) => {
    const [name = '', ...rest] = line.split(' ');
    return { name: name.toUpperCase(), args: rest.join(' ') };
  });
}

/** The instructions of the last stage, which is what runs. */
function lastStage(text: string): { name: string; args: string }[] {
  const all = instructions(text);
  return all.slice(all.map(({ name }) => name).lastIndexOf('FROM'));
}

function environmentOf(stage: readonly { name: string; args: string }[]): Environment {
  const pairs = stage.filter(({ name }) => name === 'ENV').flatMap(({ args }) => args.split(/\s+/));
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

/** Milliseconds of a duration option's default. */
function initialDuration(key: string): number {
  const initial = options.find((option) => option.key === key)?.initial;
  const reading = typeof initial === 'string' ? readDuration(initial) : undefined;
  if (reading?.kind !== 'value') throw new Error(`${key} has no default`);
  return reading.value;
}

const dockerfile = fromRoot('Dockerfile');
const compose = parse(fromRoot('docker-compose.yml'));
const deployment = parse(fromRoot('deploy/kubernetes/sidecar/deployment.yaml'));
const service = parse(fromRoot('deploy/kubernetes/sidecar/service.yaml'));
const pod = deployment.spec.template.spec;
const sidecar = pod.initContainers[0];
const kubernetesEnvironment: Environment = Object.fromEntries(
  sidecar.env.map(({ name, value }: { name: string; value: string }) => [name, value]),
);
const drain = initialDuration('limits.drainDelay') + initialDuration('limits.drain');

t.test('every IFMATCH_ variable is an option, and what it is set to is right', async (t) => {
  const known = new Set([fileOption.environment, ...options.flatMap(({ environment }) => environment)]);
  const readers = { LISTEN: readAddress, ADMIN: readAddress, UPSTREAM: readUpstream };
  const places: Record<string, Environment> = {
    Dockerfile: environmentOf(lastStage(dockerfile)),
    'docker-compose.yml': compose.services.gate.environment,
    'deployment.yaml': kubernetesEnvironment,
  };
  for (const [place, environment] of Object.entries(places)) {
    const own = Object.keys(environment).filter((name) => name.startsWith('IFMATCH_'));
    t.not(own.length, 0, `${place} sets some`);
    for (const name of own) t.ok(known.has(name), `${place}: ${name} is an option`);
    for (const [name, read] of Object.entries(readers)) {
      const value = environment[`IFMATCH_${name}`];
      if (value !== undefined) t.equal(read(value).kind, 'value', `${place}: ${name} can be read`);
    }
  }
  const texts = [dockerfile, fromRoot('docker-compose.yml'), fromRoot('deploy/README.md')];
  texts.push(fromRoot('deploy/kubernetes/sidecar/deployment.yaml'));
  for (const name of texts.join('\n').match(/IFMATCH_[A-Z_]+/g) ?? []) t.ok(known.has(name), `${name} is an option`);
  const keys = new Set(options.map(({ key }) => key));
  for (const key of texts.join('\n').match(/\blimits\.\w+/g) ?? []) t.ok(keys.has(key), `${key} is an option`);
});

t.test('Dockerfile', async (t) => {
  const stage = lastStage(dockerfile);
  const only = (name: string) => stage.filter((instruction) => instruction.name === name).map(({ args }) => args);
  t.equal(instructions(dockerfile).filter(({ name }) => name === 'FROM').length, 3, 'three stages');
  for (const { args } of instructions(dockerfile).filter(({ name }) => name === 'FROM')) {
    t.match(args, /^node:24-slim\b/, 'on Node 24');
  }
  t.ok(
    instructions(dockerfile).some(({ name, args }) => name === 'RUN' && args.startsWith('npm ci --omit=dev')),
    'production dependencies apart',
  );
  t.strictSame(only('RUN'), [], 'nothing is installed in the last stage');
  t.ok(
    only('COPY').every((args) => args.startsWith('--from=') || !/(^| )\.(\/)? /.test(args)),
    'the last stage takes named files only',
  );
  t.strictSame(only('USER'), ['node'], 'not root');
  t.strictSame(JSON.parse(only('ENTRYPOINT')[0] ?? ''), ['node', '/app/dist/main.js'], 'exec form: signals arrive');
  t.strictSame(only('CMD'), [], 'no default arguments that one has to know of');
  t.equal(environmentOf(stage).NODE_ENV, 'production');
  t.equal(environmentOf(stage).IFMATCH_LISTEN, '0.0.0.0:8412');
  t.equal(environmentOf(stage).IFMATCH_ADMIN, '0.0.0.0:9412');
  t.strictSame(only('EXPOSE'), ['8412 9412']);
  t.strictSame(only('STOPSIGNAL'), ['SIGTERM']);
  const health = only('HEALTHCHECK')[0] ?? '';
  t.strictSame(JSON.parse(health.slice(health.indexOf('['))), ['node', '/app/dist/main.js', 'health']);
  const labels = only('LABEL').join(' ');
  for (const name of ['title', 'description', 'licenses', 'version']) {
    t.match(labels, `org.opencontainers.image.${name}=`, `label ${name}`);
  }
});

t.test('.dockerignore lets in what the build takes, and no more', async (t) => {
  const lines = fromRoot('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  t.equal(lines[0], '*', 'nothing');
  const allowed = new Set(lines.slice(1).map((line) => line.replace(/^!/, '')));
  const copied = instructions(dockerfile)
    .filter(({ name, args }) => name === 'COPY' && !args.startsWith('--from='))
    .flatMap(({ args }) => args.split(' ').slice(0, -1));
  t.strictSame([...allowed].sort(), [...new Set(copied)].sort());
});

t.test('docker-compose.yml', async (t) => {
  const { gate, api } = compose.services;
  t.strictSame(Object.keys(compose.services).sort(), ['api', 'gate']);
  t.strictSame(gate.ports, ['127.0.0.1:8412:8412'], 'one port, for this machine');
  t.notOk(api.ports, 'the API publishes nothing');
  t.strictSame(api.networks, ['backend']);
  t.equal(compose.networks.backend.internal, true, 'and its network leads nowhere');
  t.ok(gate.networks.includes('backend'), 'the gate reaches it');
  t.equal(new URL(gate.environment.IFMATCH_UPSTREAM).hostname, 'api');
  t.equal(gate.depends_on.api.condition, 'service_healthy');
  t.strictSame(gate.healthcheck.test, ['CMD', 'node', '/app/dist/main.js', 'health']);
  for (const [name, container] of Object.entries(compose.services as Record<string, typeof gate>)) {
    t.equal(container.read_only, true, `${name}: read-only`);
    t.strictSame(container.cap_drop, ['ALL'], `${name}: no capabilities`);
    t.strictSame(container.security_opt, ['no-new-privileges:true'], `${name}: no new privileges`);
    t.equal(container.healthcheck.test[0], 'CMD', `${name}: a health check without a shell`);
    t.notOk(container.privileged, name);
  }
  t.ok(Number.parseInt(gate.stop_grace_period, 10) * 1000 > drain, 'time to drain');
});

t.test('the API of docker-compose.yml', async (t) => {
  const stage = lastStage(fromRoot('deploy/compose/Dockerfile'));
  const development = JSON.parse(fromRoot('package.json')).devDependencies['json-server'];
  const installed = stage.find(({ args }) => args.includes('json-server@'))?.args.split('json-server@')[1];
  t.equal(`^${installed}`, development, 'the version that the tests use');
  t.ok(stage.some(({ name, args }) => name === 'USER' && args === 'node'));
  t.ok(Array.isArray(JSON.parse(fromRoot('deploy/compose/db.json')).posts));
});

t.test('the sidecar', async (t) => {
  t.equal(pod.initContainers.length, 1);
  t.equal(sidecar.restartPolicy, 'Always', 'a native sidecar');
  const ports = Object.fromEntries(
    sidecar.ports.map(({ name, containerPort }: { name: string; containerPort: number }) => [name, containerPort]),
  );
  t.strictSame(ports, { http: 8412, admin: 9412 });
  for (const [probe, path] of Object.entries({
    startupProbe: '/healthz',
    livenessProbe: '/healthz',
    readinessProbe: '/readyz',
  })) {
    t.match(sidecar[probe].httpGet, { path, port: 'admin' }, probe);
  }
  t.match(deployment.spec.template.metadata.annotations, { 'prometheus.io/port': String(ports.admin) });
});

t.test('nobody reaches the API past the gate', async (t) => {
  t.equal(pod.containers.length, 1);
  const api = pod.containers[0];
  t.notOk(api.ports, 'the API names no port');
  const environment = Object.fromEntries(
    api.env.map(({ name, value }: { name: string; value: string }) => [name, value]),
  );
  t.equal(environment.HOST, '127.0.0.1', 'it listens on loopback');
  t.equal(kubernetesEnvironment.IFMATCH_UPSTREAM, `http://127.0.0.1:${environment.PORT}`);
  for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
    t.notOk(api[probe]?.httpGet, `${probe}: kubelet cannot reach loopback`);
  }
  t.notOk(pod.hostNetwork);
  t.match(service.spec.ports, [{ targetPort: 'http' }]);
  t.equal(service.spec.ports.length, 1, "the Service targets the gate's port only");
  t.strictSame(service.spec.selector, deployment.spec.selector.matchLabels);
  t.match(deployment.spec.template.metadata.labels, service.spec.selector);
});

t.test('never two gates at once, and time to end', async (t) => {
  t.equal(deployment.spec.replicas, 1);
  t.strictSame(deployment.spec.strategy, { type: 'Recreate' });
  t.match(fromRoot('deploy/kubernetes/sidecar/deployment.yaml'), /#[^\n]*memory store[\s\S]*strategy:/, 'and says why');
  const beforeSignal = pod.containers[0].lifecycle.preStop.sleep.seconds * 1000;
  t.ok(pod.terminationGracePeriodSeconds * 1000 >= beforeSignal + drain + 5000, 'longer than all that comes before');
});

t.test('least privilege', async (t) => {
  t.match(pod.securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
  t.ok(pod.securityContext.runAsUser > 0);
  t.equal(pod.automountServiceAccountToken, false);
  for (const container of [sidecar, ...pod.containers]) {
    t.match(
      container.securityContext,
      { runAsNonRoot: true, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false },
      container.name,
    );
    t.strictSame(container.securityContext.capabilities, { drop: ['ALL'] }, container.name);
    t.ok(container.resources.requests.memory && container.resources.limits.memory, `${container.name}: resources`);
  }
});

t.test('no file has two documents or a mistake in its YAML', async (t) => {
  const files = ['docker-compose.yml', 'deploy/kubernetes/sidecar/deployment.yaml'];
  for (const file of [...files, 'deploy/kubernetes/sidecar/service.yaml']) {
    const documents = parseAllDocuments(fromRoot(file), { strict: true, uniqueKeys: true });
    t.equal(documents.length, 1, file);
    t.strictSame(documents[0]?.errors, [], file);
    t.strictSame(documents[0]?.warnings, [], file);
  }
});
