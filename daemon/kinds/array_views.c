/* array_views.c - see array_views.h */
#include "daemon/kinds/array_views.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define VIEWS_MAX 16
#define IDLE_MS   1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct array_view *views[VIEWS_MAX]; /* under `lock` */

static void
say(struct call *call, const char *name, int r)
{
	switch (r) {
	case -ENOENT:
		call_fail(call, "there is no array \"%s\"; 'pyprepctl array ls' lists them", name);
		break;
	case -ESTALE:
		call_fail(call,
			  "the name of array \"%s\" was removed or taken by another file; "
			  "'pyprepctl array stat %s' tells which",
			  name, name);
		break;
	case -EACCES:
		call_fail(call,
			  "the workers may not open array \"%s\": they run as another user; make "
			  "it with array create --mode 0666, or work on it with --here",
			  name);
		break;
	case -ERANGE:
		call_fail(call, "/dev/shm/%s is shorter than array \"%s\": it was cut", name, name);
		break;
	case -EINVAL:
		call_fail(call, "\"%s\" cannot be the name of an array", name);
		break;
	case -ENOMEM:
		call_no_memory(call, "no memory to attach array \"%s\"", name);
		break;
	default:
		call_fail(call, "array \"%s\": %s", name, strerror(-r));
		break;
	}
}

static void
close_at(unsigned i)
{
	array_close(views[i]->array);
	free(views[i]);
	views[i] = NULL;
}

/* Under the lock.  The place of a view that can be used; else one for it, or VIEWS_MAX. */
static unsigned
find(const char *name, bool writable)
{
	unsigned place = VIEWS_MAX;

	for (unsigned i = 0; i < VIEWS_MAX; i++) {
		struct array_view *v = views[i];
		if (v == NULL) {
			place = i;
			continue;
		}
		if (v->gone || strcmp(v->array->name, name) != 0 || v->array->writable != writable)
			continue;
		if (array_is_current(v->array))
			return i;
		v->gone = true;
		if (v->users == 0) {
			close_at(i);
			place = i;
		}
	}
	for (unsigned i = 0; place == VIEWS_MAX && i < VIEWS_MAX; i++) {
		if (views[i]->users == 0) {
			close_at(i);
			place = i;
		}
	}
	return place;
}

static int
take(const char *name, bool writable, struct array_view **ret)
{
	unsigned i = find(name, writable);

	if (i == VIEWS_MAX)
		return -EBUSY;
	if (views[i] == NULL) {
		struct array *a;
		int r = array_attach(name, ARRAY_LOOK | (writable ? 0 : ARRAY_READ_ONLY), &a);
		if (r < 0)
			return r;
		views[i] = calloc(1, sizeof(*views[i]));
		if (views[i] == NULL) {
			array_close(a);
			return -ENOMEM;
		}
		views[i]->array = a;
	}
	views[i]->users++;
	*ret = views[i];
	return 0;
}

struct array_view *
array_view_take(struct call *call, const char *name, bool writable)
{
	struct array_view *view = NULL;

	pthread_mutex_lock(&lock);
	int r = take(name, writable, &view);
	pthread_mutex_unlock(&lock);
	if (r < 0)
		say(call, name, r);
	return view;
}

void
array_view_give(struct array_view *view)
{
	if (view == NULL)
		return;
	pthread_mutex_lock(&lock);
	view->users--;
	for (unsigned i = 0; i < VIEWS_MAX; i++)
		if (views[i] == view && view->gone && view->users == 0)
			close_at(i);
	pthread_mutex_unlock(&lock);
}

int
array_views_patience_ms(void)
{
	bool any = false;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < VIEWS_MAX; i++)
		any |= views[i] != NULL;
	pthread_mutex_unlock(&lock);
	return any ? IDLE_MS : -1;
}

void
array_views_close_idle(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < VIEWS_MAX; i++)
		if (views[i] != NULL && views[i]->users == 0)
			close_at(i);
	pthread_mutex_unlock(&lock);
}
