CREATE FUNCTION recording_words(id text, tenant_id text, deleted_at bigint, held boolean, duration_ms bigint, name text, tags jsonb, note text, state text, direction text, caller text, callee text, queue text, agent text, call_id text, conference_id text) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE COST 100 AS '
DECLARE
  scope text := chr(31) || tenant_id || chr(31) || (deleted_at IS NOT NULL)::int || chr(31);
  seconds bigint := CASE WHEN duration_ms < 1000 * 262143::bigint THEN duration_ms / 1000
    WHEN duration_ms IS NOT NULL THEN 262143 END;
  numbers text := caller || chr(10) || callee;
  texts text := queue || chr(10) || agent || chr(10) || note || chr(10)
    || CASE WHEN strpos(name, id) = 0 THEN name ELSE '''' END || chr(10)
    || array_to_string(ARRAY(SELECT jsonb_array_elements_text(tags)), chr(10));
BEGIN
  -- In the collation "C" ASCII letters alone are letters.
  numbers := lower(numbers COLLATE "C");
  texts := lower(texts COLLATE "C");
  RETURN ARRAY(
    SELECT hashtextextended(word, 0) FROM (
      SELECT unnest(ARRAY[''all'' || scope, ''held'' || scope || held::int, CASE WHEN state <> '''' THEN ''state'' || scope || state END, CASE WHEN direction <> '''' THEN ''direction'' || scope || direction END, CASE WHEN caller <> '''' THEN ''caller'' || scope || caller END, CASE WHEN callee <> '''' THEN ''callee'' || scope || callee END, CASE WHEN queue <> '''' THEN ''queue'' || scope || queue END, CASE WHEN agent <> '''' THEN ''agent'' || scope || agent END, CASE WHEN call_id <> '''' THEN ''call_id'' || scope || call_id END, CASE WHEN conference_id <> '''' THEN ''conference_id'' || scope || conference_id END, CASE WHEN id <> '''' THEN ''whole'' || scope || lower(id COLLATE "C") END, CASE WHEN call_id <> '''' THEN ''whole'' || scope || lower(call_id COLLATE "C") END, CASE WHEN name <> '''' THEN ''whole'' || scope || lower(name COLLATE "C") END, ''d0'' || scope || (seconds >> 0), ''d1'' || scope || (seconds >> 2), ''d2'' || scope || (seconds >> 4), ''d3'' || scope || (seconds >> 6), ''d4'' || scope || (seconds >> 8), ''d5'' || scope || (seconds >> 10), ''d6'' || scope || (seconds >> 12), ''d7'' || scope || (seconds >> 14), ''d8'' || scope || (seconds >> 16), CASE WHEN seconds >= 1 THEN ''from'' || scope || 0 END, CASE WHEN seconds >= 4 THEN ''from'' || scope || 1 END, CASE WHEN seconds >= 16 THEN ''from'' || scope || 2 END, CASE WHEN seconds >= 64 THEN ''from'' || scope || 3 END, CASE WHEN seconds >= 256 THEN ''from'' || scope || 4 END, CASE WHEN seconds >= 1024 THEN ''from'' || scope || 5 END, CASE WHEN seconds >= 4096 THEN ''from'' || scope || 6 END, CASE WHEN seconds >= 16384 THEN ''from'' || scope || 7 END, CASE WHEN seconds >= 65536 THEN ''from'' || scope || 8 END])
      UNION ALL SELECT ''tag'' || scope || jsonb_array_elements_text(tags)
      UNION ALL SELECT ''n'' || substr(numbers, at, size)
      FROM unnest(ARRAY[3, 4]) AS size,
        generate_series(1, length(numbers) - size + 1) AS at
      UNION ALL SELECT ''t'' || substr(texts, at, size)
      FROM unnest(ARRAY[3, 4]) AS size,
        generate_series(1, length(texts) - size + 1) AS at
    ) AS found (word) WHERE strpos(word, chr(10)) = 0
  );
END '
-- then
CREATE INDEX ix_recordings_words ON recordings USING gin (recording_words(id, tenant_id, deleted_at, held, duration_ms, name, tags, note, state, direction, caller, callee, queue, agent, call_id, conference_id)) WITH (fastupdate = off)
-- then
CREATE INDEX ix_recordings_listed_caller ON recordings (tenant_id, caller, id) WHERE deleted_at IS NULL
-- then
CREATE INDEX ix_recordings_listed_callee ON recordings (tenant_id, callee, id) WHERE deleted_at IS NULL
-- then
CREATE INDEX ix_recordings_listed_agent ON recordings (tenant_id, agent, id) WHERE deleted_at IS NULL
-- then
CREATE INDEX ix_recordings_listed_queue ON recordings (tenant_id, queue, id) WHERE deleted_at IS NULL
-- then
CREATE INDEX ix_recordings_listed_state ON recordings (tenant_id, state, id) WHERE deleted_at IS NULL
-- then
CREATE INDEX ix_recordings_listed_direction ON recordings (tenant_id, direction, id) WHERE deleted_at IS NULL
