-- Takes a conversation's lease, or a place in the queue for it.
-- KEYS: the lease, which holds its holder; the holder's token; who waits, by when they came;
--       the same, by when they have to come back.
-- ARGV: the holder; for how many milliseconds it takes the lease; in how many at most it comes
--       back, 0 if it doesn't; seconds the token is kept.
-- Returns 0 if the holder has the lease then, else its place.
local lease, token, queue, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local holder, life, comes_back_in, token_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local has_it = redis.call('GET', lease)
if has_it == holder then
  return 0
end
if redis.call('EXISTS', token) == 1 then
  return 1 -- it has had the lease, or has given up: this has been on its way for long
end
redis.call('ZREM', queue, '') -- a full server lets a script go on that has called what frees
for _, late in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now_ms)) do
  redis.call('ZREM', queue, late)
  redis.call('ZREM', due, late)
end
local place = (redis.call('ZRANK', queue, holder) or redis.call('ZCARD', queue)) + 1
local is_its_turn = place == 1 and not has_it
if is_its_turn or comes_back_in == 0 then
  redis.call('ZREM', queue, holder)
  redis.call('ZREM', due, holder)
end
if is_its_turn then
  redis.call('SET', token, '', 'EX', token_seconds)
  redis.call('SET', lease, holder, 'PX', life)
  return 0
end
if comes_back_in > 0 then
  -- First when it is due: if the rest is refused, nobody is in the queue for ever.
  redis.call('ZADD', due, now_ms + comes_back_in, holder)
  redis.call('ZADD', queue, 'NX', now, holder)
  local last = redis.call('ZREVRANGE', due, 0, 0, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', due, last)
  redis.call('PEXPIREAT', queue, last)
end
return place
