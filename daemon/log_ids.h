/*
 * log_ids.h - what happens to a daemon that somebody may want to be told of: a word for each, and
 * the 128 bits by which the journal finds it (MESSAGE_ID=).  Words and numbers never change their
 * meaning; pyprepd(8) lists them, and a test compares.
 *
 * To add one: a row, `systemd-id128 new`, an item in the page.
 */
#ifndef PYPREP_DAEMON_LOG_IDS_H
#define PYPREP_DAEMON_LOG_IDS_H

/*        name                 word               MESSAGE_ID */
/* clang-format off */
#define LOG_EVENTS(X)                                                                          \
	X(LOG_STARTED,         "started",         "531f95a047b34ad59a9db7585f07d4b4")         \
	X(LOG_STOPPING,        "stopping",        "fc63acb981d24396b098d09eb74c31ef")         \
	X(LOG_DRAINED,         "drained",         "6e55284aa3ec4e6aadb66d087be9ddc7")         \
	X(LOG_STOPPED,         "stopped",         "9e124829b4784f0dab8eb16d71265149")         \
	X(LOG_RELOADED,        "reloaded",        "5a5dde6322db4e6e97856e0a5f20596e")         \
	X(LOG_RELOAD_REFUSED,  "reload_refused",  "a33dd44e5392495bb29b909cf248fb6c")         \
	X(LOG_JOB_FAILED,      "job_failed",      "3011f821932a4f5e82b8120f93797149")         \
	X(LOG_JOB_TIMED_OUT,   "job_timed_out",   "df5563c29d4543b9805a8143d4c6eca8")         \
	X(LOG_JOB_RETRIED,     "job_retried",     "b23bfde35ac24daca1c4b529ee5fc580")         \
	X(LOG_JOB_DEAD,        "job_dead",        "863b2ecdf2a1411bb03e46809d9be99f")         \
	X(LOG_WORKER_DIED,     "worker_died",     "2bb675438bd04ea6a3b0616291c9021e")         \
	X(LOG_WORKER_KILLED,   "worker_killed",   "8702ccb78b384909baadfc2eb45fbac2")         \
	X(LOG_POOL_FAILED,     "pool_failed",     "c4c6fc1ec8f2422db18c7b4be69da017")         \
	X(LOG_POOL_RECOVERED,  "pool_recovered",  "168c12d1b3ce4b0782c754731d10c6af")         \
	X(LOG_POOL_STATE,      "pool_state",      "5d4cf80ec06c44c4901d2ed0837b757b")         \
	X(LOG_POOL_RESIZED,    "pool_resized",    "b6cd401f1f0c412d82d93c2ee5c2cbb6")         \
	X(LOG_BROKER_DIED,     "broker_died",     "bd33a1476e604fdd8dd06447284d0f79")         \
	X(LOG_MANAGER_DIED,    "manager_died",    "8e670ec5ccb24a4fbe44f91eaef0480c")         \
	X(LOG_MANAGER_FAILED,  "manager_failed",  "64d48eb0370e4afdbc60a5051eca5df4")         \
	X(LOG_STORE_FULL,      "store_full",      "cdce6377d80e4d59ad2278196c881943")         \
	X(LOG_STORE_FAILED,    "store_failed",    "354617d2446743b490d7985ffcf0bac0")         \
	X(LOG_STORE_RECOVERED, "store_recovered", "46aaaec7cdc943ad94619fecd83c04d7")         \
	X(LOG_STORE_REPAIRED,  "store_repaired",  "a69eebe3db304ac2a20994dabd874309")         \
	X(LOG_STORE_LOST,      "store_lost",      "0097d6dc22664b52b5e89777ff0e3898")         \
	X(LOG_SUPPRESSED,      "suppressed",      "03f046ddfd084674a43dff4e4f1eb044")
/* clang-format on */

enum log_event {
	LOG_PLAIN, /* an ordinary line */
#define X(name, word, id) name,
	LOG_EVENTS(X)
#undef X
		LOG_EVENT_COUNT
};

#endif
