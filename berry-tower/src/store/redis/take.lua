-- Takes units of all counters, or of none. For each key there are six arguments: the kind, the limit,
-- the units needed and wished, the period in microseconds, and the name of a slot.
local out = { 1, now }
local writes = {}
for i, key in ipairs(KEYS) do
  local b = (i - 1) * 6
  local kind = ARGV[b + 1]
  local limit, need, wish = tonumber(ARGV[b + 2]), tonumber(ARGV[b + 3]), tonumber(ARGV[b + 4])
  local period, slot = tonumber(ARGV[b + 5]), ARGV[b + 6]
  local used, lag, position = 0, 0, 0
  local taken, refilled, at
  if kind == 'r' then
    taken, refilled, at = rolling(key, limit, period)
    used, lag = taken - refilled, math.max(0, now - at)
  elseif kind == 's' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', math.floor(now / 1000))
    used = redis.call('ZCARD', key)
  else
    position, used = calendar(key, kind)
  end
  if need > 0 and need > limit - used then
    return { 0, now, i - 1, used, lag }
  end
  local units = math.max(0, math.min(wish, limit - used))
  if kind == 'r' then
    position = taken + units
  end
  writes[i] = { kind, units, taken, refilled, at, period, position, used, slot }
  for _, n in ipairs({ units, position, used + units, lag }) do
    out[#out + 1] = n
  end
end
for i, w in ipairs(writes) do
  if w[2] > 0 then
    if w[1] == 'r' then
      write_rolling(KEYS[i], w[3] + w[2], w[4], w[5], w[6])
    elseif w[1] == 's' then
      redis.call('ZADD', KEYS[i], math.floor(now / 1000) + 30000, w[9])
      redis.call('PEXPIRE', KEYS[i], 60000)
    else
      write_calendar(KEYS[i], w[1], w[7], w[8] + w[2])
    end
  end
end
return out
