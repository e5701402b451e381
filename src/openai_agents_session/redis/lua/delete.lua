-- Deletes a conversation, and returns 1 if there was one, else 0.
local done = redis.call('GET', token)
if done then
  return tonumber(done)
end
-- As in append.lua. A full server lets a script go on that has called what frees.
redis.call('UNLINK', token)
redis.call('ZREM', index, '')
local existed = created_at and 1 or 0
redis.call('SET', token, existed, 'EX', token_seconds)
redis.call('UNLINK', list, about)
redis.call('ZREM', index, string.sub(about, #index + 2))
return existed
