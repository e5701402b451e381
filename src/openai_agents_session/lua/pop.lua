-- Removes the newest record and returns it, if it is plainly a JSON object.
-- Returns nil from an empty session, {1, record} for a record that was removed, and
-- {0} for one that only the client can judge: it stays where it is.
if redis.call('EXISTS', token) == 1 then
  return {1, redis.call('GET', token)}
end
local record = redis.call('LINDEX', list, -1)
if not record then
  return false
end
if string.sub(record, 1, 1) ~= '{' or not pcall(cjson.decode, record) then
  return {0}
end
redis.call('RPOP', list)
remember(record)
return {1, record}
