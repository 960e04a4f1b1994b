CREATE TABLE recording_places (place INTEGER PRIMARY KEY, recording_id TEXT NOT NULL UNIQUE)
-- then
CREATE VIRTUAL TABLE recording_words USING fts5
  (words, content = '', detail = none, columnsize = 0, tokenize = 'ascii')
-- then
CREATE TRIGGER recordings_words_insert AFTER INSERT ON recordings BEGIN
  INSERT INTO recording_places SELECT coalesce(
    (SELECT place + 1 FROM recording_places AS taken
     WHERE place >= wanted
       AND EXISTS (SELECT 1 FROM recording_places WHERE place = wanted)
       AND NOT EXISTS (SELECT 1 FROM recording_places WHERE place = taken.place + 1)
     ORDER BY place LIMIT 1),
    wanted
  ), new.id FROM (SELECT (instr('0123456789abcdef', substr(new.id, 2, 1)) - 1 << 56) + (instr('0123456789abcdef', substr(new.id, 3, 1)) - 1 << 52) + (instr('0123456789abcdef', substr(new.id, 4, 1)) - 1 << 48) + (instr('0123456789abcdef', substr(new.id, 5, 1)) - 1 << 44) + (instr('0123456789abcdef', substr(new.id, 6, 1)) - 1 << 40) + (instr('0123456789abcdef', substr(new.id, 7, 1)) - 1 << 36) + (instr('0123456789abcdef', substr(new.id, 8, 1)) - 1 << 32) + (instr('0123456789abcdef', substr(new.id, 9, 1)) - 1 << 28) + (instr('0123456789abcdef', substr(new.id, 10, 1)) - 1 << 24) + (instr('0123456789abcdef', substr(new.id, 11, 1)) - 1 << 20) + (instr('0123456789abcdef', substr(new.id, 12, 1)) - 1 << 16) + (instr('0123456789abcdef', substr(new.id, 13, 1)) - 1 << 12) + (instr('0123456789abcdef', substr(new.id, 14, 1)) - 1 << 8) + (instr('0123456789abcdef', substr(new.id, 15, 1)) - 1 << 4) + (instr('0123456789abcdef', substr(new.id, 16, 1)) - 1 << 0) AS wanted LIMIT 1);
  INSERT INTO recording_words (rowid, words)
  SELECT place, (hex('all' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || '') || ' '
  || hex('held' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.held) || ' '
  || CASE new.state WHEN '' THEN '' ELSE hex('state' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.state) || ' ' END
  || CASE new.direction WHEN '' THEN '' ELSE hex('direction' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.direction) || ' ' END
  || CASE new.caller WHEN '' THEN '' ELSE hex('caller' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.caller) || ' ' END
  || CASE new.callee WHEN '' THEN '' ELSE hex('callee' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.callee) || ' ' END
  || CASE new.queue WHEN '' THEN '' ELSE hex('queue' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.queue) || ' ' END
  || CASE new.agent WHEN '' THEN '' ELSE hex('agent' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.agent) || ' ' END
  || CASE new.call_id WHEN '' THEN '' ELSE hex('call_id' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.call_id) || ' ' END
  || CASE new.conference_id WHEN '' THEN '' ELSE hex('conference_id' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.conference_id) || ' ' END
  || CASE new.id WHEN '' THEN '' ELSE hex('whole' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || lower(new.id)) || ' ' END
  || CASE new.call_id WHEN '' THEN '' ELSE hex('whole' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || lower(new.call_id)) || ' ' END
  || CASE new.name WHEN '' THEN '' ELSE hex('whole' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || lower(new.name)) || ' ' END
  || coalesce(hex('d0' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 0)) || ' '
  || hex('d1' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 2)) || ' '
  || hex('d2' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 4)) || ' '
  || hex('d3' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 6)) || ' '
  || hex('d4' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 8)) || ' '
  || hex('d5' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 10)) || ' '
  || hex('d6' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 12)) || ' '
  || hex('d7' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 14)) || ' '
  || hex('d8' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 16)) || ' '
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 1 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 0) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 4 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 1) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 16 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 2) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 64 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 3) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 256 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 4) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 1024 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 5) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 4096 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 6) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 16384 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 7) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 65536 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 8) || ' ' ELSE '' END, '')
  || coalesce((SELECT group_concat(hex('tag' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || value) || ' ', '') FROM json_each(new.tags)), '')) ||
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(new.caller || char(10) || new.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(new.caller || char(10) || new.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(new.queue || char(10) || new.agent || char(10) || new.note || char(10)
  || CASE instr(new.name, new.id) WHEN 0 THEN new.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(new.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(new.queue || char(10) || new.agent || char(10) || new.note || char(10)
  || CASE instr(new.name, new.id) WHEN 0 THEN new.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(new.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')
 FROM recording_places WHERE recording_id = new.id;
END
-- then
CREATE TRIGGER recordings_words_update AFTER UPDATE OF agent, call_id, callee, caller, conference_id, deleted_at, direction, duration_ms, held, name, note, queue, state, tags, tenant_id ON recordings
WHEN (old.agent IS NOT new.agent
  OR old.call_id IS NOT new.call_id
  OR old.callee IS NOT new.callee
  OR old.caller IS NOT new.caller
  OR old.conference_id IS NOT new.conference_id
  OR old.deleted_at IS NOT new.deleted_at
  OR old.direction IS NOT new.direction
  OR old.duration_ms IS NOT new.duration_ms
  OR old.held IS NOT new.held
  OR old.name IS NOT new.name
  OR old.note IS NOT new.note
  OR old.queue IS NOT new.queue
  OR old.state IS NOT new.state
  OR old.tags IS NOT new.tags
  OR old.tenant_id IS NOT new.tenant_id) BEGIN
  INSERT INTO recording_words (recording_words, rowid, words)
  SELECT 'delete', place, (hex('all' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || '') || ' '
  || hex('held' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.held) || ' '
  || CASE old.state WHEN '' THEN '' ELSE hex('state' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.state) || ' ' END
  || CASE old.direction WHEN '' THEN '' ELSE hex('direction' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.direction) || ' ' END
  || CASE old.caller WHEN '' THEN '' ELSE hex('caller' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.caller) || ' ' END
  || CASE old.callee WHEN '' THEN '' ELSE hex('callee' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.callee) || ' ' END
  || CASE old.queue WHEN '' THEN '' ELSE hex('queue' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.queue) || ' ' END
  || CASE old.agent WHEN '' THEN '' ELSE hex('agent' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.agent) || ' ' END
  || CASE old.call_id WHEN '' THEN '' ELSE hex('call_id' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.call_id) || ' ' END
  || CASE old.conference_id WHEN '' THEN '' ELSE hex('conference_id' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.conference_id) || ' ' END
  || CASE old.id WHEN '' THEN '' ELSE hex('whole' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || lower(old.id)) || ' ' END
  || CASE old.call_id WHEN '' THEN '' ELSE hex('whole' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || lower(old.call_id)) || ' ' END
  || CASE old.name WHEN '' THEN '' ELSE hex('whole' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || lower(old.name)) || ' ' END
  || coalesce(hex('d0' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 0)) || ' '
  || hex('d1' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 2)) || ' '
  || hex('d2' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 4)) || ' '
  || hex('d3' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 6)) || ' '
  || hex('d4' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 8)) || ' '
  || hex('d5' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 10)) || ' '
  || hex('d6' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 12)) || ' '
  || hex('d7' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 14)) || ' '
  || hex('d8' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 16)) || ' '
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 1 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 0) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 4 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 1) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 16 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 2) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 64 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 3) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 256 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 4) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 1024 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 5) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 4096 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 6) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 16384 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 7) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 65536 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 8) || ' ' ELSE '' END, '')
  || coalesce((SELECT group_concat(hex('tag' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || value) || ' ', '') FROM json_each(old.tags)), ''))
  || CASE WHEN (old.name IS NOT new.name
  OR old.tags IS NOT new.tags
  OR old.caller IS NOT new.caller
  OR old.callee IS NOT new.callee
  OR old.queue IS NOT new.queue
  OR old.agent IS NOT new.agent
  OR old.note IS NOT new.note) THEN
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(old.caller || char(10) || old.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(old.caller || char(10) || old.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(old.queue || char(10) || old.agent || char(10) || old.note || char(10)
  || CASE instr(old.name, old.id) WHEN 0 THEN old.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(old.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(old.queue || char(10) || old.agent || char(10) || old.note || char(10)
  || CASE instr(old.name, old.id) WHEN 0 THEN old.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(old.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')
 ELSE '' END
  FROM recording_places WHERE recording_id = old.id;
  INSERT INTO recording_words (rowid, words)
  SELECT place, (hex('all' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || '') || ' '
  || hex('held' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.held) || ' '
  || CASE new.state WHEN '' THEN '' ELSE hex('state' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.state) || ' ' END
  || CASE new.direction WHEN '' THEN '' ELSE hex('direction' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.direction) || ' ' END
  || CASE new.caller WHEN '' THEN '' ELSE hex('caller' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.caller) || ' ' END
  || CASE new.callee WHEN '' THEN '' ELSE hex('callee' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.callee) || ' ' END
  || CASE new.queue WHEN '' THEN '' ELSE hex('queue' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.queue) || ' ' END
  || CASE new.agent WHEN '' THEN '' ELSE hex('agent' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.agent) || ' ' END
  || CASE new.call_id WHEN '' THEN '' ELSE hex('call_id' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.call_id) || ' ' END
  || CASE new.conference_id WHEN '' THEN '' ELSE hex('conference_id' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || new.conference_id) || ' ' END
  || CASE new.id WHEN '' THEN '' ELSE hex('whole' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || lower(new.id)) || ' ' END
  || CASE new.call_id WHEN '' THEN '' ELSE hex('whole' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || lower(new.call_id)) || ' ' END
  || CASE new.name WHEN '' THEN '' ELSE hex('whole' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || lower(new.name)) || ' ' END
  || coalesce(hex('d0' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 0)) || ' '
  || hex('d1' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 2)) || ' '
  || hex('d2' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 4)) || ' '
  || hex('d3' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 6)) || ' '
  || hex('d4' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 8)) || ' '
  || hex('d5' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 10)) || ' '
  || hex('d6' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 12)) || ' '
  || hex('d7' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 14)) || ' '
  || hex('d8' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || (min(new.duration_ms / 1000, 262143) >> 16)) || ' '
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 1 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 0) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 4 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 1) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 16 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 2) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 64 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 3) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 256 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 4) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 1024 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 5) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 4096 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 6) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 16384 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 7) || ' ' ELSE '' END
  || CASE WHEN min(new.duration_ms / 1000, 262143) >= 65536 THEN hex('from' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || 8) || ' ' ELSE '' END, '')
  || coalesce((SELECT group_concat(hex('tag' || char(31) || new.tenant_id || char(31) || (new.deleted_at IS NOT NULL) || char(31) || value) || ' ', '') FROM json_each(new.tags)), ''))
  || CASE WHEN (old.name IS NOT new.name
  OR old.tags IS NOT new.tags
  OR old.caller IS NOT new.caller
  OR old.callee IS NOT new.callee
  OR old.queue IS NOT new.queue
  OR old.agent IS NOT new.agent
  OR old.note IS NOT new.note) THEN
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(new.caller || char(10) || new.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(new.caller || char(10) || new.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(new.queue || char(10) || new.agent || char(10) || new.note || char(10)
  || CASE instr(new.name, new.id) WHEN 0 THEN new.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(new.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(new.queue || char(10) || new.agent || char(10) || new.note || char(10)
  || CASE instr(new.name, new.id) WHEN 0 THEN new.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(new.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')
 ELSE '' END
  FROM recording_places WHERE recording_id = new.id;
END
-- then
CREATE TRIGGER recordings_words_delete AFTER DELETE ON recordings BEGIN
  INSERT INTO recording_words (recording_words, rowid, words)
  SELECT 'delete', place, (hex('all' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || '') || ' '
  || hex('held' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.held) || ' '
  || CASE old.state WHEN '' THEN '' ELSE hex('state' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.state) || ' ' END
  || CASE old.direction WHEN '' THEN '' ELSE hex('direction' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.direction) || ' ' END
  || CASE old.caller WHEN '' THEN '' ELSE hex('caller' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.caller) || ' ' END
  || CASE old.callee WHEN '' THEN '' ELSE hex('callee' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.callee) || ' ' END
  || CASE old.queue WHEN '' THEN '' ELSE hex('queue' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.queue) || ' ' END
  || CASE old.agent WHEN '' THEN '' ELSE hex('agent' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.agent) || ' ' END
  || CASE old.call_id WHEN '' THEN '' ELSE hex('call_id' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.call_id) || ' ' END
  || CASE old.conference_id WHEN '' THEN '' ELSE hex('conference_id' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || old.conference_id) || ' ' END
  || CASE old.id WHEN '' THEN '' ELSE hex('whole' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || lower(old.id)) || ' ' END
  || CASE old.call_id WHEN '' THEN '' ELSE hex('whole' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || lower(old.call_id)) || ' ' END
  || CASE old.name WHEN '' THEN '' ELSE hex('whole' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || lower(old.name)) || ' ' END
  || coalesce(hex('d0' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 0)) || ' '
  || hex('d1' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 2)) || ' '
  || hex('d2' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 4)) || ' '
  || hex('d3' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 6)) || ' '
  || hex('d4' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 8)) || ' '
  || hex('d5' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 10)) || ' '
  || hex('d6' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 12)) || ' '
  || hex('d7' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 14)) || ' '
  || hex('d8' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || (min(old.duration_ms / 1000, 262143) >> 16)) || ' '
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 1 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 0) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 4 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 1) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 16 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 2) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 64 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 3) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 256 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 4) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 1024 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 5) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 4096 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 6) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 16384 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 7) || ' ' ELSE '' END
  || CASE WHEN min(old.duration_ms / 1000, 262143) >= 65536 THEN hex('from' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || 8) || ' ' ELSE '' END, '')
  || coalesce((SELECT group_concat(hex('tag' || char(31) || old.tenant_id || char(31) || (old.deleted_at IS NOT NULL) || char(31) || value) || ' ', '') FROM json_each(old.tags)), '')) ||
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(old.caller || char(10) || old.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('n' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(old.caller || char(10) || old.callee) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 3)), ' ')
  FROM (SELECT lower(old.queue || char(10) || old.agent || char(10) || old.note || char(10)
  || CASE instr(old.name, old.id) WHEN 0 THEN old.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(old.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 3 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 3), char(10)) = 0
), '')
 || ' ' ||
coalesce((
  SELECT group_concat(hex('t' || substr(whole, key + 1, 4)), ' ')
  FROM (SELECT lower(old.queue || char(10) || old.agent || char(10) || old.note || char(10)
  || CASE instr(old.name, old.id) WHEN 0 THEN old.name ELSE '' END || char(10)
  || coalesce((SELECT group_concat(value, char(10)) FROM json_each(old.tags)), '')) AS whole LIMIT 1), json_each(
    '[' || substr(replace(hex(zeroblob(length(whole) - 4 + 1)), '00', ',0'), 2) || ']'
  )
  WHERE instr(substr(whole, key + 1, 4), char(10)) = 0
), '')

  FROM recording_places WHERE recording_id = old.id;
  DELETE FROM recording_places WHERE recording_id = old.id;
END
