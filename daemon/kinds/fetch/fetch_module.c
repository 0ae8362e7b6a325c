/*
 * fetch_module.c - HTTP transfers by libcurl's multi interface on a libevent loop.
 *
 * libcurl says which sockets to watch and when to call it (socket_wanted, timer_wanted);
 * libevent tells when that is (socket_ready, timer_due).  One `struct multi` serves all the
 * transfers of a thread and lives as long: it keeps connections and the certificates of the
 * authorities, whose loading takes 20 ms.  Threads share nothing but libcurl's own
 * initialisation.
 */
#include <curl/curl.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/kinds/fetch/module.h"
#include "ipc/clock.h"

#define REDIRECTS_MAX 10L

/* A socket that libcurl wants watched. */
struct watch {
	struct event event;
	struct fetch_transfer *transfer; /* whom its time is charged to; NULL: gone */
	struct multi *multi;
	struct watch *next;
};

struct multi {
	CURLM *curl;
	struct event_base *base;
	struct event timer;
	struct watch *watches;
};

struct fetch_transfer {
	CURL *easy;
	struct multi *multi;
	struct fetch_hooks hooks;
	void *owner;
	uint64_t started_ns;
	uint64_t bytes;
	char error[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t current; /* the thread's multi */

/* ---- the end of transfers ---- */

static void
transfer_free(struct fetch_transfer *t)
{
	struct multi *m = t->multi;

	for (struct watch *w = m->watches; w != NULL; w = w->next)
		if (w->transfer == t)
			w->transfer = NULL;
	curl_multi_remove_handle(m->curl, t->easy);
	curl_easy_cleanup(t->easy);
	free(t);
}

static void
transfer_done(struct fetch_transfer *t, CURLcode code)
{
	struct fetch_hooks hooks = t->hooks;
	void *owner = t->owner;
	char error[CURL_ERROR_SIZE];
	struct fetch_answer answer = {
		.bytes = t->bytes,
		.time_ns = clock_now() - t->started_ns,
	};

	hooks.enter(owner);
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &answer.status);
	if (code != CURLE_OK) {
		const char *text = t->error[0] != '\0' ? t->error : curl_easy_strerror(code);
		snprintf(error, sizeof(error), "%s", text);
		answer.error = error;
	}
	transfer_free(t);
	hooks.done(owner, &answer);
}

/* Report what has ended. */
static void
collect(struct multi *m)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(m->curl, &left)) != NULL) {
		struct fetch_transfer *t;
		CURLcode code = message->data.result;
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		transfer_done(t, code);
	}
}

/* ---- libevent calls ---- */

static void
socket_ready(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	struct fetch_transfer *t = w->transfer;
	struct multi *m = w->multi;
	int flags = ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
		    ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0);
	int running;

	/* `w` may go in here, `t` not: transfers end in collect() and stop() only. */
	if (t != NULL)
		t->hooks.enter(t->owner);
	curl_multi_socket_action(m->curl, fd, flags, &running);
	if (t != NULL)
		t->hooks.leave(t->owner);
	collect(m);
}

/* Its time belongs to no single transfer and is charged to none. */
static void
timer_due(evutil_socket_t fd, short what, void *arg)
{
	struct multi *m = arg;
	int running;

	(void)fd;
	(void)what;
	curl_multi_socket_action(m->curl, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(m);
}

/* ---- libcurl calls ---- */

static void
watch_free(struct watch *w)
{
	struct watch **at = &w->multi->watches;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	event_del(&w->event);
	free(w);
}

static struct watch *
watch_new(struct multi *m, curl_socket_t socket)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w != NULL) {
		w->multi = m;
		event_assign(&w->event, m->base, socket, 0, socket_ready, w);
		w->next = m->watches;
		m->watches = w;
		curl_multi_assign(m->curl, socket, w);
	}
	return w;
}

static int
socket_wanted(CURL *easy, curl_socket_t socket, int what, void *multi, void *known)
{
	struct multi *m = multi;
	struct watch *w = known;
	short flags = EV_PERSIST;

	if (what == CURL_POLL_REMOVE) {
		if (w != NULL)
			watch_free(w);
		curl_multi_assign(m->curl, socket, NULL);
		return 0;
	}
	if (w == NULL && (w = watch_new(m, socket)) == NULL)
		return -1;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		flags |= EV_READ;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		flags |= EV_WRITE;
	w->transfer = NULL;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&w->transfer);
	event_del(&w->event);
	event_assign(&w->event, m->base, socket, flags, socket_ready, w);
	return event_add(&w->event, NULL);
}

static int
timer_wanted(CURLM *curl, long timeout_ms, void *multi)
{
	struct multi *m = multi;

	(void)curl;
	if (timeout_ms < 0) {
		evtimer_del(&m->timer);
		return 0;
	}
	struct timeval after = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	return evtimer_add(&m->timer, &after);
}

static size_t
body_came(char *bytes, size_t size, size_t count, void *transfer)
{
	struct fetch_transfer *t = transfer;

	(void)bytes;
	t->bytes += size * count;
	return size * count;
}

/* ---- the start of transfers ---- */

/* A thread has ended, and its event loop before it: touch no event any more. */
static void
multi_free(void *multi)
{
	struct multi *m = multi;

	curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, NULL);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, NULL);
	curl_multi_cleanup(m->curl);
	while (m->watches != NULL) {
		struct watch *w = m->watches;
		m->watches = w->next;
		free(w);
	}
	free(m);
}

static void
start_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
	pthread_key_create(&current, multi_free);
}

static struct multi *
multi_for(struct event_base *base)
{
	pthread_once(&once, start_curl);
	struct multi *m = pthread_getspecific(current);
	if (m != NULL)
		return m;
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return NULL;
	m->curl = curl_multi_init();
	if (m->curl == NULL || pthread_setspecific(current, m) != 0) {
		curl_multi_cleanup(m->curl);
		free(m);
		return NULL;
	}
	m->base = base;
	evtimer_assign(&m->timer, base, timer_due, m);
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, socket_wanted);
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, timer_wanted);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
	return m;
}

/* Authorities come from a bundle or a directory, and libcurl keeps only a bundle in memory
 * when it has no directory to look at besides. */
static void
use_bundle(CURL *easy)
{
	char *bundle = NULL;

	if (curl_easy_getinfo(easy, CURLINFO_CAINFO, &bundle) == CURLE_OK && bundle != NULL)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
}

static CURL *
easy_new(struct fetch_transfer *t, const char *url)
{
	CURL *easy = curl_easy_init();
	if (easy == NULL)
		return NULL;
	curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "pyprep/" PYPREP_VERSION);
	use_bundle(easy);
	if (curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK) {
		curl_easy_cleanup(easy);
		return NULL;
	}
	return easy;
}

static void
fetch_stop(struct fetch_transfer *t)
{
	transfer_free(t);
}

static struct fetch_transfer *
fetch_start(struct event_base *base, const char *url, const struct fetch_hooks *hooks, void *owner,
	    const char **error)
{
	struct multi *m = multi_for(base);
	struct fetch_transfer *t = calloc(1, sizeof(*t));

	*error = "no memory for a transfer";
	if (t != NULL)
		t->easy = easy_new(t, url);
	if (m == NULL || t == NULL || t->easy == NULL) {
		if (t != NULL && t->easy != NULL)
			curl_easy_cleanup(t->easy);
		free(t);
		return NULL;
	}
	t->multi = m;
	t->hooks = *hooks;
	t->owner = owner;
	t->started_ns = clock_now();
	CURLMcode code = curl_multi_add_handle(m->curl, t->easy);
	if (code != CURLM_OK) {
		*error = curl_multi_strerror(code);
		transfer_free(t);
		return NULL;
	}
	return t;
}

extern const struct fetch_module pyprep_fetch_module;
__attribute__((visibility("default"))) const struct fetch_module pyprep_fetch_module = {
	.version = FETCH_MODULE_VERSION,
	.start = fetch_start,
	.stop = fetch_stop,
};
