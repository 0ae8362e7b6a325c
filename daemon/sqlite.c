/* sqlite.c - see sqlite.h */
#include "daemon/sqlite.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#define LIBRARY "libsqlite3.so.0"
#define OLDEST  3037000 /* STRICT tables */
#define ADVICE  "; install its package: apt-get install libsqlite3-0"

struct sqlite_library sqlite;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of `sqlite` and `library` */
static void *library;

static int
find_functions(void *handle, char *problem, size_t size)
{
#define X(name)                                                                   \
	*(void **)&sqlite.name = dlsym(handle, "sqlite3_" #name);                 \
	if (sqlite.name == NULL) {                                                \
		snprintf(problem, size, LIBRARY " has no sqlite3_" #name ADVICE); \
		return -ELIBACC;                                                  \
	}
	SQLITE_FUNCTIONS(X)
#undef X
	if (sqlite.libversion_number() < OLDEST) {
		snprintf(problem, size, LIBRARY " is of version %d; expected %d or newer" ADVICE,
			 sqlite.libversion_number(), OLDEST);
		return -ELIBACC;
	}
	/* Counting every allocation under one mutex serves sqlite3_memory_used() alone. */
	(void)sqlite.config(SQLITE_CONFIG_MEMSTATUS, 0);
	if (sqlite.initialize() != SQLITE_OK) {
		snprintf(problem, size, LIBRARY " could not be initialized: no memory");
		return -ELIBACC;
	}
	return 0;
}

int
sqlite_load(char *problem, size_t size)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (library == NULL) {
		void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
		if (handle == NULL) {
			snprintf(problem, size, "SQLite is not there (%.140s)" ADVICE, dlerror());
			r = -ELIBACC;
		} else if ((r = find_functions(handle, problem, size)) < 0) {
			dlclose(handle);
		} else {
			library = handle;
		}
	}
	pthread_mutex_unlock(&lock);
	return r;
}
