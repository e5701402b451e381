-- Drops the oldest records and puts others in the place of the newest, if both are
-- still what the caller has read.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for
--       ever; how many oldest; how many newest; those oldest; those newest; the others.
-- Returns 1, or 0 when the session holds something else: then nothing changes.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if redis.call('EXISTS', token) == 1 then
  return 1
end
local oldest, newest = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('LLEN', list) - oldest - newest
if kept < 0 then
  return 0
end
local argument = 5
local function as_read(start, count)
  if count == 0 then
    return true -- LRANGE would take the index before the first for the last
  end
  for _, record in ipairs(redis.call('LRANGE', list, start, start + count - 1)) do
    if record ~= ARGV[argument] then
      return false
    end
    argument = argument + 1
  end
  return true
end
if not (as_read(0, oldest) and as_read(oldest + kept, newest)) then
  return 0
end
-- As in append.lua. RPUSH makes a list of the token, so that is trimmed away. LTRIM leads:
-- this is also how an item is popped, which a full server is to allow.
redis.call('LTRIM', token, 1, 0)
redis.call('SET', token, '', 'XX')
if argument <= #ARGV then
  redis.call('RPUSH', token, '')
  redis.call('LTRIM', token, 1, 0)
end
if ttl ~= '0' then
  redis.call('EXPIRE', token, ttl)
end
if kept > 0 then
  redis.call('LTRIM', list, oldest, oldest + kept - 1)
end
for first = argument, #ARGV, 4000 do
  redis.call('RPUSH', list, unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
if kept == 0 then -- only now, or an expiry that something else has set would go with the list
  redis.call('LTRIM', list, oldest + newest, -1)
end
if ttl ~= '0' then
  redis.call('EXPIRE', list, ttl)
end
redis.call('SET', token, '', 'EX', token_seconds)
return 1
