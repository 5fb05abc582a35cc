-- A ledger of version 0.1.0 (schema 2: a table for each type of record), as the tables of today. json_number(x) is x as JSON, to the last bit.

PRAGMA temp_store = MEMORY;

CREATE TEMP VIEW steps AS
SELECT position, name, iif(kind = 'Kept', 'Selected', kind) AS kind, records, finished_at, wall_s, cpu_s, train_tokens, sample_tokens,
    train_cpu_s, sample_cpu_s
FROM main.steps;

CREATE TEMP VIEW notes AS
SELECT key, value, 'content' AS kind FROM main.notes WHERE key <> 'policy'
UNION ALL SELECT 'policy folder', value, 'places' FROM main.notes WHERE key = 'policy';

CREATE TEMP VIEW asked AS
SELECT task_id, role, id, json_object('question', question, 'answer', gold, 'kind', kind, 'fact', fact) AS body FROM main.questions;

CREATE TEMP VIEW written AS
SELECT proposal_id, id, json_object(
    'prompt', json_object('text', prompt, 'continued', json(iif(continued, 'true', 'false')), 'given', given),
    'completion', completion, 'finish_reason', finish_reason
) AS body
FROM main.turns;

CREATE TEMP VIEW answered AS
SELECT candidate_id, result_id, id, json_object(
    'question', json_object('question', question, 'answer', gold, 'kind', kind, 'fact', fact),
    'prediction', prediction, 'correct', json(iif(correct IS NULL, 'null', iif(correct, 'true', 'false'))),
    'gold_logprob', json(json_number(gold_logprob))
) AS body
FROM main.answers;

CREATE TEMP VIEW judged AS
SELECT candidate_id, step, position, id, json_object('guard', guard, 'decision', decision, 'reason', reason) AS body FROM main.verdicts;

CREATE TEMP VIEW records AS
SELECT 'Task' AS kind, step, position, task_id, NULL AS round, NULL AS idx, json_object(
    'id', task_id, 'title', title, 'context', context,
    'reward_questions',
    (SELECT json_group_array(json(body)) FROM (SELECT body FROM asked WHERE task_id = t.task_id AND role = 'reward' ORDER BY id)),
    'report_questions',
    (SELECT json_group_array(json(body)) FROM (SELECT body FROM asked WHERE task_id = t.task_id AND role = 'report' ORDER BY id))
) AS body
FROM main.tasks t
UNION ALL
SELECT 'Proposal', step, position, task_id, round, idx, json_object(
    'task_id', task_id, 'round', round, 'index', idx, 'seed', seed, 'edit', json_object(
        'strategy', strategy, 'examples', json(examples), 'dropped', json(dropped),
        'picked', json(iif((
            SELECT trim(completion, char(32, 9, 10, 13)) = p.strategy AND instr(', ' || given, ', ' || p.strategy || ' ') > 0
            FROM main.turns WHERE proposal_id = p.id ORDER BY position LIMIT 1
        ), 'true', 'false')),
        'turns', (SELECT json_group_array(json(body)) FROM (SELECT body FROM written WHERE proposal_id = p.id ORDER BY id))
    )
)
FROM main.proposals p
UNION ALL
SELECT 'Candidate', step, position, task_id, round, idx, json_object(
    'proposal', json_object('task_id', task_id, 'round', round, 'index', idx),
    'reward', json_object('value', json(json_number(reward)), 'kind', reward_kind, 'reason', reward_reason, 'parts', json(reward_parts)),
    'answers', (SELECT json_group_array(json(body)) FROM (SELECT body FROM answered WHERE candidate_id = c.id ORDER BY id)),
    'losses', json(losses), 'tokens', tokens,
    'verdicts', (SELECT json_group_array(json(body)) FROM (SELECT body FROM judged WHERE candidate_id = c.id ORDER BY id))
)
FROM main.candidates c
UNION ALL
SELECT 'Rating', step, position, task_id, round, idx, json_object(
    'task_id', task_id, 'round', round, 'index', idx, 'prefilter', screen, 'rung', rung, 'value', json(json_number(value))
)
FROM main.ratings
UNION ALL
SELECT 'Selected', step, position, task_id, round, idx, json_object(
    'task_id', task_id, 'round', round, 'index', idx, 'advantage', json(json_number(advantage))
)
FROM main.kept
UNION ALL
SELECT 'Variant', step, position, NULL, NULL, NULL, json_object(
    'number', number, 'parent', parent, 'strategy', strategy, 'prompt', prompt, 'format', format, 'samples', samples, 'epochs', epochs,
    'lr', json(json_number(lr)), 'written', written, 'problem', problem
)
FROM main.variants
UNION ALL
SELECT 'Update', step, position, NULL, round, NULL, json_object(
    'round', round, 'algorithm', algorithm, 'groups', groups, 'skipped', skipped, 'losses', json(losses),
    'metrics', (SELECT json_group_object(name, json(json_number(value))) FROM (SELECT name, value FROM main.metrics WHERE update_id = u.id ORDER BY id))
)
FROM main.updates u
UNION ALL
SELECT 'Result', step, position, task_id, NULL, NULL, json_object(
    'row', arm, 'task_id', task_id, 'tokens', tokens, 'role', role, 'seed', seed,
    'answers', (SELECT json_group_array(json(body)) FROM (SELECT body FROM answered WHERE result_id = r.id ORDER BY id))
)
FROM main.results r
UNION ALL
SELECT 'Verdict', step, position, NULL, NULL, NULL, body FROM judged WHERE candidate_id IS NULL
UNION ALL
SELECT 'Artifact', step, position, NULL, NULL, NULL, json_object('name', name, 'path', path, 'sha256', sha256) FROM main.artifacts;
