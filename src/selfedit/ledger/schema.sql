-- One run. A step holds records of one type of selfedit.types; a record is a JSON object with that type's fields.
-- The views below the tables are there to be asked in SQL. NULL is "not measured"; everything is counted from 0.

CREATE TABLE run (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    run_id      TEXT NOT NULL,
    command     TEXT NOT NULL,
    recipe      TEXT NOT NULL,            -- JSON
    environment TEXT NOT NULL,            -- JSON: versions, code revision, machine
    version     TEXT NOT NULL,            -- of selfedit
    status      TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed', 'interrupted')),
    created_at  TEXT NOT NULL,            -- ISO 8601, UTC
    finished_at TEXT
) STRICT;

CREATE TABLE notes (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL,                  -- JSON
    kind  TEXT NOT NULL CHECK (kind IN ('content', 'places'))   -- places: folders and versions, which the content hash leaves out
) STRICT;

CREATE TABLE steps (
    position      INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL,          -- the type of its records
    records       INTEGER NOT NULL,
    finished_at   TEXT NOT NULL,
    wall_s        REAL NOT NULL,
    cpu_s         REAL NOT NULL,          -- of all threads
    train_tokens  INTEGER NOT NULL,
    sample_tokens INTEGER NOT NULL,
    train_cpu_s   REAL NOT NULL,          -- of cpu_s, in training
    sample_cpu_s  REAL NOT NULL           -- of cpu_s, in writing
) STRICT;

CREATE TABLE records (
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,            -- in its step
    kind     TEXT NOT NULL,
    body     TEXT NOT NULL,               -- JSON. Of a candidate's proposal only the key: see the record with the same key and kind 'Proposal'
    task_id  TEXT AS (
        iif(kind = 'Task', json_extract(body, '$.id'), coalesce(json_extract(body, '$.task_id'), json_extract(body, '$.proposal.task_id')))
    ),
    round    INTEGER AS (coalesce(json_extract(body, '$.round'), json_extract(body, '$.proposal.round'))),
    idx      INTEGER AS (coalesce(json_extract(body, '$.index'), json_extract(body, '$.proposal.index')))   -- number of the self-edit
) STRICT;

CREATE TABLE replies (                    -- of a judge, kept as they come, so that a resumed run asks nothing twice
    key    TEXT PRIMARY KEY,              -- SHA-256 of who was asked and what
    judge  TEXT NOT NULL,
    served TEXT NOT NULL,                 -- the model that the server says has answered
    prompt TEXT NOT NULL,
    reply  TEXT NOT NULL
) STRICT;

CREATE INDEX records_of_step ON records (step);
CREATE INDEX records_by_key ON records (kind, round, task_id, idx);

-- ---------------------------------------------------------------- what a record may not be

CREATE UNIQUE INDEX task_once ON records (task_id) WHERE kind = 'Task';
CREATE UNIQUE INDEX edit_once ON records (kind, task_id, round, idx) WHERE kind IN ('Proposal', 'Candidate');
CREATE UNIQUE INDEX rating_once ON records (task_id, round, idx, json_extract(body, '$.prefilter'), json_extract(body, '$.rung')) WHERE kind = 'Rating';
CREATE UNIQUE INDEX variant_once ON records (json_extract(body, '$.number')) WHERE kind = 'Variant';

CREATE TRIGGER of_a_known_task BEFORE INSERT ON records
WHEN NEW.kind IN ('Proposal', 'Result')
    AND NOT EXISTS (SELECT 1 FROM records WHERE kind = 'Task' AND round IS NULL AND task_id = NEW.task_id)
BEGIN SELECT raise(ABORT, 'whose task is not recorded'); END;

CREATE TRIGGER of_a_known_proposal BEFORE INSERT ON records
WHEN NEW.kind IN ('Candidate', 'Rating', 'Selected')
    AND NOT EXISTS (SELECT 1 FROM records WHERE kind = 'Proposal' AND task_id = NEW.task_id AND round = NEW.round AND idx = NEW.idx)
BEGIN SELECT raise(ABORT, 'whose proposal is not recorded'); END;

-- ---------------------------------------------------------------- to be asked in SQL

CREATE VIEW tasks AS
SELECT id, step, position, task_id, json_extract(body, '$.title') AS title, json_extract(body, '$.context') AS context, body
FROM records WHERE kind = 'Task';

CREATE VIEW questions AS                  -- of a task
SELECT tasks.task_id, roles.role, asked.key AS number,
    json_extract(asked.value, '$.question') AS question,
    json_extract(asked.value, '$.answer') AS gold,           -- empty: nobody knows it
    json_extract(asked.value, '$.aliases') AS aliases,       -- JSON: further gold answers
    json_extract(asked.value, '$.kind') AS kind,
    json_extract(asked.value, '$.fact') AS fact
FROM tasks, (SELECT 'reward' AS role UNION ALL SELECT 'report') AS roles, json_each(tasks.body, '$.' || roles.role || '_questions') AS asked;

CREATE VIEW proposals AS
SELECT id, step, position, task_id, round, idx,
    json_extract(body, '$.seed') AS seed,
    json_extract(body, '$.edit.strategy') AS strategy,
    json_extract(body, '$.edit.examples') AS examples,       -- JSON: [{text, prompt}]
    json_extract(body, '$.edit.dropped') AS dropped,         -- JSON: [{text, reason}]
    json_extract(body, '$.edit.problem') AS problem,         -- why it cannot be trained; empty: it can
    body
FROM records WHERE kind = 'Proposal';

CREATE VIEW turns AS                      -- what was asked for a proposal and what was written; none where nothing was written
SELECT proposals.id AS proposal_id, turn.key AS number,
    json_extract(turn.value, '$.prompt.text') AS prompt,
    json_extract(turn.value, '$.prompt.continued') AS continued,   -- 1: a plain text to go on with, 0: a user's turn
    json_extract(turn.value, '$.prompt.given') AS given,     -- what the answer will be about; of a choice, what it was drawn from
    json_extract(turn.value, '$.completion') AS completion,
    json_extract(turn.value, '$.finish_reason') AS finish_reason
FROM proposals, json_each(proposals.body, '$.edit.turns') AS turn;

CREATE VIEW directives AS                 -- settings of the inner loop that a proposal carries
SELECT proposals.id AS proposal_id, proposals.task_id, proposals.round, proposals.idx,
    json_extract(said.value, '$[0]') AS name,
    json_extract(said.value, '$[1]') AS value
FROM proposals, json_each(proposals.body, '$.edit.directives') AS said;

CREATE VIEW candidates AS
SELECT id, step, position, task_id, round, idx,
    json_extract(body, '$.reward.value') AS reward,          -- NULL: unscored, see reward_reason
    json_extract(body, '$.reward.kind') AS reward_kind,
    json_extract(body, '$.reward.reason') AS reward_reason,
    json_extract(body, '$.reward.parts') AS reward_parts,    -- JSON: [[name, figure]]
    json_extract(body, '$.losses') AS losses,                -- JSON: one a step of the optimizer; "NaN" and "Infinity" are strings
    json_extract(body, '$.tokens') AS tokens,                -- trained on
    body
FROM records WHERE kind = 'Candidate';

CREATE VIEW results AS
SELECT id, step, position, task_id,
    json_extract(body, '$.row') AS row,
    json_extract(body, '$.role') AS role,                    -- of the questions; only 'report' is a result to be shown
    json_extract(body, '$.tokens') AS tokens,                -- trained on in all
    json_extract(body, '$.seed') AS seed,                    -- of the comparison: rows are paired by it
    body
FROM records WHERE kind = 'Result';

CREATE VIEW answers AS                    -- of a candidate to reward questions (once for each inner seed), or of a result to questions of its role
SELECT iif(records.kind = 'Candidate', records.id, NULL) AS candidate_id, iif(records.kind = 'Result', records.id, NULL) AS result_id,
    answer.key AS number,
    json_extract(answer.value, '$.question.question') AS question,
    json_extract(answer.value, '$.question.answer') AS gold,
    json_extract(answer.value, '$.question.kind') AS kind,
    json_extract(answer.value, '$.question.fact') AS fact,
    json_extract(answer.value, '$.prediction') AS prediction,
    json_extract(answer.value, '$.correct') AS correct,      -- by the local judge; NULL: nobody knows the right answer
    json_extract(answer.value, '$.gold_logprob') AS gold_logprob   -- nats a token; NULL: not measured
FROM records, json_each(records.body, '$.answers') AS answer WHERE records.kind IN ('Candidate', 'Result');

CREATE VIEW ratings AS                    -- of prefilters, before a self-edit is trained in full
SELECT id, step, position, task_id, round, idx,
    json_extract(body, '$.prefilter') AS prefilter,
    json_extract(body, '$.rung') AS rung,
    json_extract(body, '$.value') AS value,                  -- NULL: not measured
    body
FROM records WHERE kind = 'Rating';

CREATE VIEW selected AS
SELECT id, step, position, task_id, round, idx, json_extract(body, '$.advantage') AS advantage, body
FROM records WHERE kind = 'Selected';

CREATE VIEW variants AS                   -- ways of writing self-edits, in an archive
SELECT id, step, position,
    json_extract(body, '$.number') AS number,                -- the round in which it is evaluated
    json_extract(body, '$.parent') AS parent,                -- NULL: a known strategy
    json_extract(body, '$.strategy') AS strategy,
    json_extract(body, '$.prompt') AS prompt,
    json_extract(body, '$.problem') AS problem,              -- why it is not used; empty: it is
    body
FROM records WHERE kind = 'Variant';

CREATE VIEW updates AS                    -- of the policy
SELECT id, step, position, round,
    json_extract(body, '$.algorithm') AS algorithm,
    json_extract(body, '$.groups') AS groups,                -- tasks with scored self-edits
    json_extract(body, '$.skipped') AS skipped,              -- those of them that taught nothing
    json_extract(body, '$.losses') AS losses,                -- JSON: one a step of the optimizer
    json_extract(body, '$.metrics') AS metrics,              -- JSON: {name: mean over the steps}
    body
FROM records WHERE kind = 'Update';

CREATE VIEW examples AS                   -- everyday prompts with the model's own answers, which every job trains on as well
SELECT id, step, position, json_extract(body, '$.prompt') AS prompt, json_extract(body, '$.text') AS text, body
FROM records WHERE kind = 'Example';

CREATE VIEW routed AS                     -- who was asked a question
SELECT id, step, position,
    json_extract(body, '$.question') AS question,
    json_extract(body, '$.about') AS about,                  -- the task it is about; empty: an everyday prompt
    json_extract(body, '$.to') AS asked,                     -- the task whose adapter was asked; empty: the untrained model
    json_extract(body, '$.score') AS score,                  -- log-odds; NULL: no document shares a word with it
    json_extract(body, '$.changed') AS changed,              -- whether the answer is another than the untrained model gives; NULL: not measured
    body
FROM records WHERE kind = 'Routed';

CREATE VIEW harvested AS                  -- what an adapter answered to a fresh question
SELECT id, step, position,
    json_extract(body, '$.task_id') AS task_id,
    json_extract(body, '$.question') AS question,
    json_extract(body, '$.answer') AS answer,                -- the most frequent of those it drew
    json_extract(body, '$.share') AS share,                  -- how many of them say the same
    json_extract(body, '$.reason') AS reason,                -- why it is not learned; empty: it passed
    json_extract(body, '$.known') AS known,                  -- 1: a reward question, which measures the test and is not learned
    json_extract(body, '$.right') AS right_answer,
    body
FROM records WHERE kind = 'Harvested';

CREATE VIEW verdicts AS                   -- candidate_id NULL: about the run
SELECT records.step, iif(records.kind = 'Candidate', records.id, NULL) AS candidate_id,
    json_extract(verdict.value, '$.guard') AS guard,
    json_extract(verdict.value, '$.decision') AS decision,
    json_extract(verdict.value, '$.reason') AS reason,
    json_extract(verdict.value, '$.about') AS about,         -- the adapter, by its SHA-256; empty: the only one, or all
    json_extract(verdict.value, '$.scale') AS scale          -- of `shrink`: the adapter was scaled by this
FROM records, json_each(iif(records.kind = 'Candidate', json_extract(records.body, '$.verdicts'), json_array(json(records.body)))) AS verdict
WHERE records.kind IN ('Candidate', 'Verdict');

CREATE VIEW artifacts AS
SELECT id, step, position, json_extract(body, '$.name') AS name,
    json_extract(body, '$.path') AS path,                    -- relative to the run folder
    json_extract(body, '$.sha256') AS sha256
FROM records WHERE kind = 'Artifact';
