/*
 * policy.h - the limits of a job's policies: who submits checks them, and the broker again.
 * What a policy says is in client/pyprep.h; how its map looks in daemon/policy.h.
 */
#ifndef PYPREP_IPC_POLICY_H
#define PYPREP_IPC_POLICY_H

#include <stdint.h>

#define POLICY_BYTES_MAX   8192u /* of the map */
#define POLICY_PARENTS     256u
#define POLICY_LIST_MAX    16u /* rates, needs, labels, exit statuses */
#define POLICY_NAME_MAX    63u /* bytes */
#define POLICY_TEXT_MAX    127u
#define POLICY_KEY_MAX     127u
#define POLICY_RETRIES_MAX 10000u
#define POLICY_WAIT_MAX    (UINT64_C(3660) * 86400000000000u) /* ten years in ns */
#define POLICY_COUNT_MAX   1000000000u                        /* of a rate, of a need */
#define POLICY_WINDOW_MIN  UINT64_C(1000000)                  /* ns */
#define POLICY_MEMORY_MIN  (UINT64_C(1) << 20)
#define POLICY_MEMORY_MAX  (UINT64_C(1) << 46)
#define POLICY_NICE_MAX    19
#define POLICY_CRASHES     3u /* the default of crash_limit */
#define POLICY_CRASHES_MAX 1000u

/* The defaults of backoff. */
#define POLICY_FIRST_NS UINT64_C(1000000000)
#define POLICY_MOST_NS  UINT64_C(300000000000)

#endif
