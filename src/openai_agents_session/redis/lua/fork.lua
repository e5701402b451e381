-- Begins a conversation with what another one has.
-- KEYS: behind those of index.lua: the list and the hash of the new one.
-- ARGV: behind those of index.lua: how many of the oldest records, -1 for all.
-- Returns "done", or what is in the way: then nothing has changed.
local new_list, new_about, records = KEYS[5], KEYS[6], tonumber(ARGV[3])
local done = redis.call('GET', token)
if done then
  return done
end
if not created_at then
  return 'missing'
end
if redis.call('HEXISTS', new_about, 'created_at') == 1 then
  return 'taken'
end
redis.call('LLEN', list)
local said = redis.call('HGETALL', about)
-- As in append.lua.
redis.call('SET', token, '', 'XX')
try_listing()
redis.call('COPY', token, new_list)
redis.call('LTRIM', token, 1, 0)
redis.call('UNLINK', new_list, new_about) -- what is left of one that has expired
if records ~= 0 then
  redis.call('COPY', list, new_list)
end
if records > 0 then
  redis.call('LTRIM', new_list, 0, records - 1)
end
if ttl == '0' then
  redis.call('PERSIST', new_list) -- COPY has given it the other's expiry
end
redis.call('HSET', new_about, unpack(said))
list_anew(new_list, new_about, 'created_at', now)
redis.call('SET', token, 'done', 'EX', token_seconds)
return 'done'
