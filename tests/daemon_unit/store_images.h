/*
 * store_images.h - a store with some of everything in it, and its files as bytes: kept, damaged,
 * put back.  On top of store_fixture.h, of the engine `sqlite`.
 */
#ifndef PYPREP_TESTS_STORE_IMAGES_H
#define PYPREP_TESTS_STORE_IMAGES_H

#include <stddef.h>
#include <time.h>

#define STORE_JOBS 60u

struct image {
	unsigned char *bytes;
	size_t length;
	struct timespec changed;
};

/* The store as its files were when take_images() was called. */
extern struct image database, wal, claims;

const char *store_path(const char *name); /* in store_dir; valid until the next call */
void take_images(void);
void put_images(void);
void forget_images(void);
/* As if the disk had done it: the time of the last change stays. */
void write_image(const char *name, const struct image *f, size_t length);
void flip_byte(const char *name, const struct image *f, size_t at, unsigned char mask);

/* STORE_JOBS jobs: long and short, open and ended, with output, contexts and tallies. */
void fill_store(void);

#endif
