/*
 * store_schema.h - the tables of the engine `sqlite`: pyprep-store(5) describes them.
 *
 * user_version counts the versions of the schema.  A store of an older version is brought up when
 * it is opened for writing, one of a newer version is refused.
 */
#ifndef PYPREP_DAEMON_STORE_SCHEMA_H
#define PYPREP_DAEMON_STORE_SCHEMA_H

#include "daemon/sqlite.h"

#define SCHEMA_VERSION        1
#define SCHEMA_APPLICATION_ID 0x50595052 /* "PYPR": file(1) and sqlite3 show it */

/* Make the tables, views and words of an empty database, in one transaction.  An SQLite code. */
int schema_create(sqlite3 *db);

/* The words of states, causes and errors may have grown since the store was made: put down the
 * missing ones.  An SQLite code. */
int schema_words(sqlite3 *db);

#endif
