-- hello: whether the store can be used, and for how long it rests.
redis.call('HSET', bucket, 'greeted', text(now))
return { 'here', text(now), text(math.max(0, rest - now)) }
