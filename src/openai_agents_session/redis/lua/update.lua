-- Changes what is said about a conversation, and lets its life begin anew.
-- ARGV: behind those of index.lua: how many fields to set; these, as pairs of field and value;
--       the fields to remove.
-- Returns what `describe` does; nothing, and nothing has changed, where there is no such
-- conversation. The token holds the answer, as a list.
local answer = redis.call('LRANGE', token, 0, -1)
if #answer > 0 or not created_at then
  return answer
end
-- As in append.lua.
redis.call('SET', token, '', 'XX')
try_listing()
describe(list, about)
redis.call('HDEL', token, '')
redis.call('RPUSH', token, '')
redis.call('EXPIRE', token, token_seconds)
redis.call('UNLINK', token)
local removed = 4 + 2 * ARGV[3]
for field = 4, removed - 1, 2 do
  redis.call('HSET', about, ARGV[field], ARGV[field + 1])
end
if removed <= #ARGV then
  redis.call('HDEL', about, unpack(ARGV, removed))
end
list_anew(list, about)
answer = describe(list, about)
redis.call('RPUSH', token, unpack(answer))
redis.call('EXPIRE', token, token_seconds)
return answer
