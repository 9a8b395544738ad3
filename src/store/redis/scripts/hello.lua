-- hello: whether the store can be used, and for how long it rests. It writes, because a replica, or a server without
-- memory, would answer a question all the same.
redis.call('HSET', bucket, 'greeted', text(now))
return { 'here', text(now), text(math.max(0, rest - now)) }
