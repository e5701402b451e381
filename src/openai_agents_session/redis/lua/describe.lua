-- Returns what is said about a conversation, as pairs of field and value; behind them when it
-- expires, in milliseconds since 1970 (-1: never), and how many records there are.
-- Returns an empty table where there is no such conversation.
local function describe(list, about)
  local answer = redis.call('HGETALL', about)
  if #answer > 0 then
    table.insert(answer, redis.call('PEXPIRETIME', about))
    table.insert(answer, redis.call('LLEN', list))
  end
  return answer
end
