-- Gives a lease back, or leaves the queue for it.
-- KEYS: as acquire.lua. ARGV: the holder; seconds the token is kept.
local lease, token, queue, due, holder = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
redis.call('ZREM', queue, holder) -- leads: see acquire.lua
redis.call('ZREM', due, holder)
if redis.call('GET', lease) == holder then
  redis.call('UNLINK', lease)
end
redis.call('SET', token, '', 'EX', ARGV[2])
return 1
