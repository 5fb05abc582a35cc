-- One run. Anything a report says can be recomputed from these tables; JSON only where a list is nested in a record.
-- NULL is "not measured". idx counts the self-edits of a task in a round, position the records of a step; all from 0.

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
    value TEXT NOT NULL                   -- JSON
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

CREATE TABLE tasks (
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,
    task_id  TEXT NOT NULL UNIQUE,
    title    TEXT NOT NULL,
    context  TEXT NOT NULL
) STRICT;

CREATE TABLE questions (
    id       INTEGER PRIMARY KEY,
    task_id  TEXT NOT NULL REFERENCES tasks (task_id),
    role     TEXT NOT NULL CHECK (role IN ('reward', 'report')),
    position INTEGER NOT NULL,
    question TEXT NOT NULL,
    gold     TEXT NOT NULL,
    kind     TEXT NOT NULL,
    fact     TEXT
) STRICT;

CREATE TABLE proposals (
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,
    task_id  TEXT NOT NULL REFERENCES tasks (task_id),
    round    INTEGER NOT NULL,
    idx      INTEGER NOT NULL,
    seed     INTEGER NOT NULL,
    strategy TEXT NOT NULL,
    examples TEXT NOT NULL,               -- JSON: [{prompt, text}]
    dropped  TEXT NOT NULL,               -- JSON: [{text, reason}]
    UNIQUE (task_id, round, idx)
) STRICT;

CREATE TABLE turns (                      -- what was asked for a proposal and what was written; none where nothing was written
    id            INTEGER PRIMARY KEY,
    proposal_id   INTEGER NOT NULL REFERENCES proposals (id),
    position      INTEGER NOT NULL,
    prompt        TEXT NOT NULL,
    continued     INTEGER NOT NULL CHECK (continued IN (0, 1)),   -- 1: a plain text to go on with, 0: a user's turn
    given         TEXT NOT NULL,          -- what the answer will be about; of a choice, what it was drawn from
    completion    TEXT NOT NULL,
    finish_reason TEXT NOT NULL CHECK (finish_reason IN ('stop', 'length'))
) STRICT;

CREATE TABLE candidates (
    id            INTEGER PRIMARY KEY,
    step          INTEGER NOT NULL REFERENCES steps (position),
    position      INTEGER NOT NULL,
    task_id       TEXT NOT NULL,
    round         INTEGER NOT NULL,
    idx           INTEGER NOT NULL,
    reward        REAL,                   -- NULL: unscored, see reward_reason
    reward_kind   TEXT NOT NULL,
    reward_reason TEXT NOT NULL,
    reward_parts  TEXT NOT NULL,          -- JSON: [[name, figure]], what the reward was made of
    losses        TEXT NOT NULL,          -- JSON: one a step of the optimizer; "nan", "inf", "-inf" are strings
    tokens        INTEGER NOT NULL,       -- trained on
    UNIQUE (task_id, round, idx),
    FOREIGN KEY (task_id, round, idx) REFERENCES proposals (task_id, round, idx)
) STRICT;

CREATE TABLE ratings (                    -- of screens, before a self-edit is trained in full
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,
    task_id  TEXT NOT NULL,
    round    INTEGER NOT NULL,
    idx      INTEGER NOT NULL,
    screen   TEXT NOT NULL,
    rung     INTEGER NOT NULL,            -- of a screen in several, from 0
    value    REAL,                        -- NULL: not measured
    UNIQUE (task_id, round, idx, screen, rung),
    FOREIGN KEY (task_id, round, idx) REFERENCES proposals (task_id, round, idx)
) STRICT;

CREATE TABLE kept (
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,
    task_id  TEXT NOT NULL,
    round    INTEGER NOT NULL,
    idx      INTEGER NOT NULL,
    advantage REAL NOT NULL,              -- how much it is learned from, and with which sign; 1: imitated
    FOREIGN KEY (task_id, round, idx) REFERENCES proposals (task_id, round, idx)
) STRICT;

CREATE TABLE variants (                   -- ways of writing self-edits, in an archive
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,
    number   INTEGER NOT NULL UNIQUE,     -- the round in which it is evaluated
    parent   INTEGER,                     -- NULL: a known strategy
    strategy TEXT NOT NULL,
    prompt   TEXT NOT NULL,
    format   TEXT NOT NULL CHECK (format IN ('statements', 'questions')),
    samples  INTEGER NOT NULL,
    epochs   INTEGER NOT NULL,
    lr       REAL NOT NULL,
    written  TEXT NOT NULL,               -- the completion it was read from
    problem  TEXT NOT NULL                -- why it is not used; empty: it is
) STRICT;

CREATE TABLE updates (                    -- of the policy
    id        INTEGER PRIMARY KEY,
    step      INTEGER NOT NULL REFERENCES steps (position),
    position  INTEGER NOT NULL,
    round     INTEGER NOT NULL,
    algorithm TEXT NOT NULL,
    groups    INTEGER NOT NULL,           -- tasks with scored self-edits
    skipped   INTEGER NOT NULL,           -- those of them that taught nothing
    losses    TEXT NOT NULL               -- JSON: one a step of the optimizer
) STRICT;

CREATE TABLE metrics (                    -- of an update, means over its steps
    id        INTEGER PRIMARY KEY,
    update_id INTEGER NOT NULL REFERENCES updates (id),
    name      TEXT NOT NULL,
    value     REAL NOT NULL
) STRICT;

CREATE TABLE results (
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,
    row      TEXT NOT NULL,
    task_id  TEXT NOT NULL REFERENCES tasks (task_id),
    role     TEXT NOT NULL CHECK (role IN ('reward', 'report')),   -- of the questions; only 'report' is a result to be shown
    tokens   INTEGER NOT NULL,            -- trained on in all
    seed     INTEGER NOT NULL             -- of the comparison, from 0: rows are paired by it
) STRICT;

CREATE TABLE answers (                    -- of a candidate to reward questions (once for each inner seed), or of a result to questions of its role
    id           INTEGER PRIMARY KEY,
    candidate_id INTEGER REFERENCES candidates (id),
    result_id    INTEGER REFERENCES results (id),
    position     INTEGER NOT NULL,
    question     TEXT NOT NULL,
    gold         TEXT NOT NULL,          -- empty: nobody knows it
    kind         TEXT NOT NULL,
    fact         TEXT,
    prediction   TEXT NOT NULL,
    correct      INTEGER CHECK (correct IN (0, 1)),   -- by the local judge; NULL: nobody knows the right answer
    gold_logprob REAL,                    -- nats a token; NULL: not measured
    CHECK ((candidate_id IS NULL) <> (result_id IS NULL))
) STRICT;

CREATE TABLE verdicts (
    id           INTEGER PRIMARY KEY,
    step         INTEGER NOT NULL REFERENCES steps (position),
    position     INTEGER NOT NULL,
    candidate_id INTEGER REFERENCES candidates (id),   -- NULL: about the run
    guard        TEXT NOT NULL,
    decision     TEXT NOT NULL CHECK (decision IN ('accept', 'reject', 'stop')),
    reason       TEXT NOT NULL
) STRICT;

CREATE TABLE replies (                    -- of a judge, kept as they come, so that a resumed run asks nothing twice
    key    TEXT PRIMARY KEY,              -- SHA-256 of who was asked and what
    judge  TEXT NOT NULL,
    served TEXT NOT NULL,                 -- the model that the server says has answered
    prompt TEXT NOT NULL,
    reply  TEXT NOT NULL
) STRICT;

CREATE TABLE artifacts (
    id       INTEGER PRIMARY KEY,
    step     INTEGER NOT NULL REFERENCES steps (position),
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    path     TEXT NOT NULL,               -- relative to the run folder
    sha256   TEXT NOT NULL
) STRICT;

CREATE INDEX questions_of_task ON questions (task_id);
CREATE INDEX turns_of_proposal ON turns (proposal_id);
CREATE INDEX answers_of_candidate ON answers (candidate_id);
CREATE INDEX answers_of_result ON answers (result_id);
CREATE INDEX verdicts_of_candidate ON verdicts (candidate_id);
