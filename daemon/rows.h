/*
 * rows.h - copies of the store's rows, on their way from the reading thread to the broker's; and
 * questions that a client's request puts to the store.
 */
#ifndef PYPREP_DAEMON_ROWS_H
#define PYPREP_DAEMON_ROWS_H

#include <sys/queue.h>

#include "daemon/request.h"
#include "daemon/writer.h"

/* A row with all it points to: one allocation. */
struct kept_row {
	STAILQ_ENTRY(kept_row) link;
	struct store_row row;
	unsigned char bytes[];
};
STAILQ_HEAD(row_list, kept_row);

struct kept_row *row_keep(const struct store_row *row); /* NULL: no memory */
void rows_free(struct row_list *rows);

/* Rows for a client.  Whoever asks fills `filter` (its strings by recall_text) or `ids`. */
struct recall;
typedef void (*recall_fn)(struct broker *b, const struct request *r, struct recall *c);
struct recall {
	struct question question;
	uint32_t client, number; /* who asked */
	uint64_t since_ns;
	struct store_filter filter;
	uint64_t *ids; /* NULL: `filter` says which rows; else these jobs, each by its id */
	uint32_t id_count;
	bool attempts;         /* and the ended attempts of each job that was found */
	recall_fn answer;      /* not called when the client is gone */
	void *context; /* the asker's; freed with it */
	struct row_list rows;  /* the answer ... */
	struct row_list tried; /* ... and attempts */
	int result;            /* 0, or -errno of the store */
	uint64_t *listed;      /* ls: ids that were told already, in order */
	size_t listed_count;
	char texts[5][STORE_KEY_MAX + 1];
	unsigned text_count;
};

struct recall *recall_new(const struct request *r, recall_fn answer); /* NULL: told the client */
const char *recall_text(struct recall *c, const char *text); /* a copy that lives with it */
void recall_ask(struct broker *b, struct recall *c);
/* The store cannot be read: an error reply, and true. */
bool recall_failed(struct broker *b, const struct request *r, const struct recall *c);

/* The client that asked, if it is still there. */
struct client *client_still(struct broker *b, uint32_t index, uint64_t since_ns);

#endif
