/* policy.c - see policy.h */
#include "daemon/policy.h"

#include <stdlib.h>

void
policy_free(struct policy *p)
{
	free(p);
}
