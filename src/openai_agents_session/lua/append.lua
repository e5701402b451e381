-- Appends a batch of records.
-- ARGV: the records.
if redis.call('EXISTS', token) == 0 then
  push(first_argument)
  remember('')
end
return 1
