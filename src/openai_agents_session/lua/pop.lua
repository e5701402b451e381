-- Removes the newest record and returns it, if it looks like a JSON object.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for ever.
-- Returns nil from an empty session, and 0 for a record that only the client can
-- judge: that one stays where it is.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local function is_object(record)
  return record and string.byte(record, 1) == 123 and string.byte(record, -1) == 125 -- { }
end
-- To take a record and put it back costs less than to look first. But a list that is
-- emptied for a moment loses its expiry, which must be the session's own, to set again.
local may_take = true
if ttl == '0' then
  may_take = redis.call('EXISTS', token) == 0 and is_object(redis.call('LINDEX', list, -1))
end
local record = may_take and redis.call('RPOP', list)
if is_object(record) and redis.call('SET', token, record, 'EX', token_seconds, 'NX') then
  if ttl ~= '0' then
    redis.call('EXPIRE', list, ttl)
  end
  return record
end
if record then
  redis.call('RPUSH', list, record)
  redis.call('EXPIRE', list, ttl)
end
return redis.call('GET', token) or (redis.call('LLEN', list) > 0 and 0)
