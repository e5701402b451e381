-- Returns a page of a user's conversations, the last written to first: for each its id, and
-- what `describe` returns. Behind them, where others may follow, the place of the last entry
-- that was passed: its score and its id. What has expired leaves the index.
-- KEYS: the index.
-- ARGV: how many conversations; how many entries to look at; '1' for active ones, '0' for
--       others, '' for both; and where the page before has ended, if there was one, its place.
local index, limit, most, active = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local score, id_before = tonumber(ARGV[4]), ARGV[5]

-- Entries of one score are in descending order of their bytes. (What Lua's < says depends on
-- the server's locale.)
local function is_after(id)
  for at = 1, math.min(#id, #id_before) do
    local one, other = string.byte(id, at), string.byte(id_before, at)
    if one ~= other then
      return one < other
    end
  end
  return #id < #id_before
end

local rank = score and redis.call('ZCOUNT', index, '(' .. ARGV[4], '+inf') or 0
local found, place, examined = {}, {ARGV[4], ARGV[5]}, 0
while examined < most do
  local entries = redis.call('ZREVRANGE', index, rank, rank + limit, 'WITHSCORES')
  local gone, is_full = {}, false
  for at = 1, #entries, 2 do
    local id = entries[at]
    if not score or tonumber(entries[at + 1]) ~= score or is_after(id) then
      local about = index .. '~' .. id
      local said = redis.call('HMGET', about, 'created_at', 'is_active')
      if not said[1] then
        table.insert(gone, id)
      elseif active == '' or (active == '1') == (said[2] ~= '0') then
        if #found == limit then
          is_full = true
          break
        end
        table.insert(found, {id, describe(index .. ':' .. id, about)})
      end
      place = {entries[at + 1], id}
    end
  end
  if #gone > 0 then
    redis.call('ZREM', index, unpack(gone))
  end
  if is_full then
    return {found, place}
  end
  if #entries < 2 * (limit + 1) then
    return {found}
  end
  rank = rank + limit + 1 - #gone
  examined = examined + limit + 1
end
return {found, place}
