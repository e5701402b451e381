-- Removes the newest record and returns it, if it looks like a JSON object.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for ever.
-- Returns nil from an empty session, and 0 for a record that only the client can
-- judge: that one stays where it is.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local popped = redis.call('GET', token)
if popped then
  return popped
end
local record = redis.call('LINDEX', list, -1)
if not record then
  return false
end
if string.byte(record, 1) ~= 123 or string.byte(record, -1) ~= 125 then -- { }
  return 0
end
-- It may yet be unreadable. Then restore.lua puts it back, for which there must be the
-- right (known from Redis 7 on), and no expiry of something else's that goes with the list.
if redis.acl_check_cmd and not redis.acl_check_cmd('RPUSH', list, record) then
  return 0
end
if ttl == '0' and redis.call('LLEN', list) == 1 and redis.call('PTTL', list) > 0 then
  return 0
end
-- As in append.lua. A full server lets a script go on that has called what frees.
redis.call('LTRIM', token, 1, 0)
if ttl ~= '0' then
  redis.call('EXPIRE', token, ttl)
end
redis.call('SET', token, record, 'EX', token_seconds)
redis.call('LTRIM', list, 0, -2)
if ttl ~= '0' then
  redis.call('EXPIRE', list, ttl)
end
return record
