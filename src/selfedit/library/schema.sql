-- What a model has learned, version by version. A version is the set of documents that were in force; nothing is changed, rows are only added,
-- until versions that are older than the library keeps are dropped.

CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY, -- SHA-256 of the adapter's configuration and weights; its files are in adapters/ID
    model TEXT NOT NULL, -- what the adapter belongs to: name and fingerprint, JSON
    recipe TEXT NOT NULL, -- of the run that made it, JSON
    run TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY,
    entry TEXT NOT NULL REFERENCES entries (id),
    id TEXT NOT NULL, -- of its text
    title TEXT NOT NULL,
    context TEXT NOT NULL,
    asked TEXT NOT NULL, -- questions of its self-edits, one a line
    examples TEXT NOT NULL, -- what its adapter was trained on, JSON
    questions TEXT NOT NULL, -- that nothing was trained on and no result is reported on, JSON
    UNIQUE (entry, id)
) STRICT;

CREATE TABLE IF NOT EXISTS versions (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL, -- of the documents in force and their adapters
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    note TEXT NOT NULL,
    gate TEXT NOT NULL, -- JSON
    target INTEGER -- of a rollback: the version whose contents are in force again
) STRICT;

CREATE TABLE IF NOT EXISTS members (
    document INTEGER NOT NULL REFERENCES documents (number),
    since INTEGER NOT NULL, -- the first version it is in
    until INTEGER -- the first version it is no longer in
) STRICT;

-- Of version 2, whose gate weighed what adapters made of a question.
DROP TABLE IF EXISTS gains;

CREATE TABLE IF NOT EXISTS features ( -- of the last calibration: what speaks for a document where an everyday prompt is asked
    prompt TEXT NOT NULL,
    document TEXT NOT NULL, -- its id
    held REAL NOT NULL,
    "foreign" REAL NOT NULL,
    told REAL NOT NULL, -- -Inf where it was not read
    PRIMARY KEY (prompt, document)
) STRICT;

CREATE INDEX IF NOT EXISTS documents_id ON documents (id);
CREATE INDEX IF NOT EXISTS members_document ON members (document);
CREATE INDEX IF NOT EXISTS members_current ON members (until);

-- The documents in force, to be found by their words.
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    title, context, asked, content = 'documents', content_rowid = 'number', tokenize = 'porter unicode61 remove_diacritics 2'
);
