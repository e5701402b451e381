-- Deletes some of a user's conversations.
-- KEYS: the index; the token.
-- ARGV: seconds the token is kept; how many of those in the index; or 0, and the ids.
-- Returns as a text, which the token holds: how many entries were dealt with, how many
-- conversations and how many records were deleted.
local index, token, token_seconds, most = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local done = redis.call('GET', token)
if done then
  return done
end
local ids = most > 0 and redis.call('ZRANGE', index, 0, most - 1) or {unpack(ARGV, 3)}
-- As in append.lua. A full server lets a script go on that has called what frees.
redis.call('UNLINK', token)
redis.call('ZREM', index, '')
redis.call('SET', token, '', 'XX')
local conversations, records = 0, 0
for _, id in ipairs(ids) do
  local list, about = index .. ':' .. id, index .. '~' .. id
  local length = redis.pcall('LLEN', list) -- an error where something else has put its own there
  records = records + (type(length) == 'number' and length or 0)
  conversations = conversations + redis.call('EXISTS', about)
  redis.call('UNLINK', list, about)
  redis.call('ZREM', index, id)
end
done = #ids .. ' ' .. conversations .. ' ' .. records
redis.call('SET', token, done, 'EX', token_seconds)
return done
