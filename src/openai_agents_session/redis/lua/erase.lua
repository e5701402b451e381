-- Deletes some of a user's conversations.
-- KEYS: the index; the token; for each conversation its list and its hash.
-- ARGV: seconds the token is kept.
-- Returns how many conversations and how many records were deleted, as a text, which the token
-- holds.
local index, token, token_seconds = KEYS[1], KEYS[2], ARGV[1]
local done = redis.call('GET', token)
if done then
  return done
end
local conversations, records = 0, 0
for at = 3, #KEYS, 2 do
  local length = redis.pcall('LLEN', KEYS[at]) -- an error where something else lies there
  records = records + (type(length) == 'number' and length or 0)
  conversations = conversations + redis.call('EXISTS', KEYS[at + 1])
end
-- As in append.lua. A full server lets a script go on that has called what frees.
redis.call('UNLINK', token)
redis.call('ZREM', index, '')
redis.call('SET', token, '', 'XX')
for at = 3, #KEYS, 2 do
  redis.call('UNLINK', KEYS[at], KEYS[at + 1])
  redis.call('ZREM', index, string.sub(KEYS[at + 1], #index + 2))
end
done = conversations .. ' ' .. records
redis.call('SET', token, done, 'EX', token_seconds)
return done
