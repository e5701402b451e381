-- Returns the newest records of a conversation, behind the position of the oldest of these;
-- nil where there is no such conversation.
-- KEYS: its list; its hash. ARGV: how many; only those before this position, -1 for all.
local list, about, newest, before = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2])
if redis.call('HEXISTS', about, 'created_at') == 0 then
  return false
end
local length = redis.call('LLEN', list)
if before < 0 or before > length then
  before = length
end
local first = math.max(0, before - newest)
local answer = before == 0 and {} or redis.call('LRANGE', list, first, before - 1)
table.insert(answer, 1, first)
return answer
