CREATE FUNCTION recording_words(id text, tenant_id text, deleted_at bigint, held boolean, duration_ms bigint, name text, tags jsonb, note text, state text, direction text, caller text, callee text, queue text, agent text, call_id text, conference_id text) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS '
DECLARE
  scope text := chr(31) || tenant_id || chr(31) || (deleted_at IS NOT NULL)::int || chr(31);
  seconds bigint := least(duration_ms / 1000, 262143);
  numbers text := caller || chr(10) || callee;
  texts text := queue || chr(10) || agent || chr(10) || note || chr(10)
    || CASE WHEN strpos(name, id) = 0 THEN name ELSE '''' END || chr(10)
    || array_to_string(ARRAY(SELECT jsonb_array_elements_text(tags)), chr(10));
BEGIN
  numbers := translate(numbers, ''ABCDEFGHIJKLMNOPQRSTUVWXYZ'', ''abcdefghijklmnopqrstuvwxyz'');
  texts := translate(texts, ''ABCDEFGHIJKLMNOPQRSTUVWXYZ'', ''abcdefghijklmnopqrstuvwxyz'');
  RETURN ARRAY(
    SELECT hashtextextended(word, 0) FROM unnest(ARRAY[''all'' || scope, ''held'' || scope || held::int, CASE WHEN state <> '''' THEN ''state'' || scope || state END, CASE WHEN direction <> '''' THEN ''direction'' || scope || direction END, CASE WHEN caller <> '''' THEN ''caller'' || scope || caller END, CASE WHEN callee <> '''' THEN ''callee'' || scope || callee END, CASE WHEN queue <> '''' THEN ''queue'' || scope || queue END, CASE WHEN agent <> '''' THEN ''agent'' || scope || agent END, CASE WHEN call_id <> '''' THEN ''call_id'' || scope || call_id END, CASE WHEN conference_id <> '''' THEN ''conference_id'' || scope || conference_id END, CASE WHEN id <> '''' THEN ''whole'' || scope || translate(id, ''ABCDEFGHIJKLMNOPQRSTUVWXYZ'', ''abcdefghijklmnopqrstuvwxyz'') END, CASE WHEN call_id <> '''' THEN ''whole'' || scope || translate(call_id, ''ABCDEFGHIJKLMNOPQRSTUVWXYZ'', ''abcdefghijklmnopqrstuvwxyz'') END, CASE WHEN name <> '''' THEN ''whole'' || scope || translate(name, ''ABCDEFGHIJKLMNOPQRSTUVWXYZ'', ''abcdefghijklmnopqrstuvwxyz'') END, ''d0'' || scope || (seconds >> 0), ''d1'' || scope || (seconds >> 2), ''d2'' || scope || (seconds >> 4), ''d3'' || scope || (seconds >> 6), ''d4'' || scope || (seconds >> 8), ''d5'' || scope || (seconds >> 10), ''d6'' || scope || (seconds >> 12), ''d7'' || scope || (seconds >> 14), ''d8'' || scope || (seconds >> 16)]) AS word WHERE word IS NOT NULL
  ) || ARRAY(
    SELECT hashtextextended(''tag'' || scope || tag, 0)
    FROM jsonb_array_elements_text(tags) AS tag
  ) || ARRAY(
    SELECT hashtextextended(''n'' || substr(numbers, at, size), 0)
    FROM unnest(ARRAY[3, 4]) AS size,
      generate_series(1, length(numbers) - size + 1) AS at
  ) || ARRAY(
    SELECT hashtextextended(''t'' || substr(texts, at, size), 0)
    FROM unnest(ARRAY[3, 4]) AS size, generate_series(1, length(texts) - size + 1) AS at
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
