/*
 * queue.pml - the queue of ipc/queue.c as a model for spin: PRODUCERS and CONSUMERS on 2 slots, any
 * of which may die between any two steps (DEATHS times in all), RECOVERERS, which may die too,
 * and new processes that get the places of the dead.
 *
 * Asserted: no message is torn, invented or got twice; every slot that is skipped is counted once.
 * A wedge, or a message that was put and is never got, is an invalid end state: the consumers end
 * only when all producers are through and each message that was put whole was got (or died with a
 * consumer that had taken it).
 *
 * Mutants, each of which must fail:
 *   -DMUTANT_LIVING   recovers from a living producer, too
 *   -DMUTANT_EARLY    publishes before the message is written
 *   -DMUTANT_UNLOCKED recovers without the lock: a late hand takes from a new member
 *   -DMUTANT_FREE     frees the place of the dead before its slot
 *   -DMUTANT_REDO     does not finish what a dead recoverer began
 *   -DMUTANT_HELP     does not help a lagging tail
 */
#ifndef FIRST_PUTS
#define FIRST_PUTS 2 /* of producer 0; any other puts 1 */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef RECOVERERS
#define RECOVERERS 1
#endif
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
#define MEMBERS (PRODUCERS + CONSUMERS)
#define CAPACITY 2
#define MESSAGES (FIRST_PUTS + PRODUCERS - 1)

#define EMPTY    0
#define WRITING  1
#define FULL     2
#define READING  3
#define RETURNED 4

typedef slot { byte at; byte state; byte who; byte left; byte right };
slot slots[CAPACITY];
byte tail, head;
bool any_returned;
bool dead[MEMBERS];  /* its place's owner is dead, and the place not free yet */
byte doing[MEMBERS];
bool locked, lock_of_dead;
bool journal; /* something is under way: */
byte j_at, j_state, j_who, j_skipped;
byte skipped;

/* Not part of the algorithm. */
byte deaths, through, skips;
bool put[MESSAGES + 1]; /* message i is in the queue, whole */
byte got[MESSAGES + 1];
bool all_got = true;

#define IS(s, p, st, w) (slots[s].at == (p) && slots[s].state == (st) && slots[s].who == (w))
#define SET(s, p, st, w) slots[s].at = (p); slots[s].state = (st); slots[s].who = (w)

/* One instruction, before which a member, or a recoverer, may die. */
#define STEP(x) if :: atomic { x } :: atomic { deaths < DEATHS -> deaths++; dead[me] = true; goto died } fi
#define RSTEP(x) if :: atomic { x } \
	:: atomic { deaths < DEATHS -> deaths++; lock_of_dead = holds; holds = false; goto again } fi
/* A consumer that holds the recovery lock. */
#define LSTEP(x) if :: atomic { x } \
	:: atomic { deaths < DEATHS -> deaths++; dead[me] = true; lock_of_dead = true; goto died } fi

inline count_all_got() {
	all_got = true; i = 1;
	do
	:: i <= MESSAGES -> if :: put[i] && got[i] == 0 -> all_got = false :: else fi; i++
	:: else -> break
	od;
	i = 0
}

#define TAKE_LOCK (!locked || lock_of_dead) -> locked = true; lock_of_dead = false

#define AT(p)    slots[(p) % CAPACITY].at
#define STATE(p) slots[(p) % CAPACITY].state

#define MESSAGE  (me == 0 -> n : FIRST_PUTS + me)

proctype producer(byte me)
{
	byte t, n, i; /* n: puts begun */

next:
	t = 0;
	if
	:: n == (me == 0 -> FIRST_PUTS : 1) -> goto end
	:: else -> n++
	fi;
retry:
	STEP(t = tail);
	if
	:: atomic { AT(t) == t && STATE(t) == EMPTY -> doing[me] = t; goto claim }
	:: AT(t) < t -> /* full */
		if
		:: atomic { AT(t) >= t || tail != t -> goto retry }
		:: atomic { deaths < DEATHS -> deaths++; dead[me] = true; goto died }
		fi
	:: atomic { AT(t) > t || (AT(t) == t && STATE(t) != EMPTY) -> goto help }
	fi;
help:
#ifdef MUTANT_HELP
	tail != t;
#endif
	STEP(if :: tail == t -> tail = t + 1 :: else fi);
	goto retry;
claim: /* `doing` is read when we are dead only, so its store is part of the look before */
	STEP(if
	     :: IS(t % CAPACITY, t, EMPTY, 0) -> SET(t % CAPACITY, t, WRITING, me)
	     :: else -> goto retry
	     fi);
#ifdef MUTANT_EARLY
	STEP(SET(t % CAPACITY, t, FULL, 0));
#endif
	STEP(slots[t % CAPACITY].left = MESSAGE);
	STEP(slots[t % CAPACITY].right = MESSAGE);
	STEP(
#ifndef MUTANT_EARLY
	     SET(t % CAPACITY, t, FULL, 0);
#endif
	     put[MESSAGE] = true; count_all_got());
	STEP(if :: tail == t -> tail = t + 1 :: else fi);
	goto next;
died:	/* a new process joins when the place is free; it does not put the same again */
	atomic { !dead[me] -> goto next };
end:	through++
}

proctype consumer(byte me)
{
	byte h, i, message;
	bool torn;

retry:
	h = 0;
	if
	:: any_returned ->
		if
		:: atomic { TAKE_LOCK; goto returned }
		:: locked && !lock_of_dead
		fi
	:: else
	fi;
	STEP(h = head);
	if
	:: atomic { AT(h) == h && STATE(h) == FULL -> doing[me] = h; goto claim }
	:: AT(h) < h || (AT(h) == h && (STATE(h) == EMPTY || STATE(h) == WRITING)) ->
		if /* nothing now */
		:: atomic { AT(h) > h || (AT(h) == h && STATE(h) >= FULL) || head != h -> goto retry }
		:: atomic { any_returned && (!locked || lock_of_dead) -> goto retry }
		:: atomic { through == PRODUCERS && all_got -> goto end }
		:: atomic { deaths < DEATHS -> deaths++; dead[me] = true; goto died }
		fi
	:: atomic { AT(h) > h || (AT(h) == h && STATE(h) >= READING) -> goto help }
	fi;
help: /* taken by another, or given back */
	STEP(if :: head == h -> head = h + 1 :: else fi);
	goto retry;
claim:
	STEP(if
	     :: IS(h % CAPACITY, h, FULL, 0) -> SET(h % CAPACITY, h, READING, me)
	     :: else -> goto retry
	     fi);
	goto take;
returned: /* with the lock */
#ifndef MUTANT_REDO
	if
	:: journal -> goto finish_journal
	:: else
	fi;
#endif
search:
	if
	:: atomic { slots[0].state == RETURNED -> h = slots[0].at }
	:: atomic { slots[0].state != RETURNED && slots[1].state == RETURNED -> h = slots[1].at }
	:: slots[0].state != RETURNED && slots[1].state != RETURNED ->
		LSTEP(any_returned = false);
		LSTEP(locked = false);
		goto retry
	fi;
	LSTEP(doing[me] = h; SET(h % CAPACITY, h, READING, me));
	LSTEP(locked = false);
take:
	STEP(message = slots[h % CAPACITY].left; torn = message != slots[h % CAPACITY].right;
	     if
	     :: IS(h % CAPACITY, h, READING, me) -> SET(h % CAPACITY, h + CAPACITY, EMPTY, 0)
	     :: else -> assert(false) /* it was taken from the living */
	     fi;
	     assert(!torn && message >= 1 && message <= MESSAGES);
	     got[message]++;
	     assert(got[message] == 1);
	     message = 0; torn = false;
	     count_all_got());
	STEP(if :: head == h -> head = h + 1 :: else fi);
	goto retry;
finish_journal:
	if
	:: j_state == READING -> LSTEP(any_returned = true)
	:: else
	fi;
	LSTEP(if
	      :: IS(j_at % CAPACITY, j_at, j_state, j_who) ->
		      if
		      :: j_state == WRITING -> SET(j_at % CAPACITY, j_at + CAPACITY, EMPTY, 0); skips++
		      :: else -> SET(j_at % CAPACITY, j_at, RETURNED, 0)
		      fi
	      :: else
	      fi);
	LSTEP(skipped = j_skipped);
	LSTEP(journal = false);
	goto search;
died:
	atomic { !dead[me] -> goto retry };
end:	skip
}

proctype recoverer()
{
	byte m, p;
	bool holds;

again:
	atomic { holds = false; m = 0; p = 0 };
end_idle:
	if /* somebody to bury */
	:: dead[0] -> m = 0
	:: dead[1] -> m = 1
	:: dead[2] -> m = 2
#if MEMBERS > 3
	:: dead[3] -> m = 3
#endif
#ifdef MUTANT_LIVING
	:: slots[0].state == WRITING && !dead[slots[0].who] -> m = slots[0].who
#endif
	:: locked && lock_of_dead /* and it is free for others again */ -> m = MEMBERS
	fi;
#ifndef MUTANT_UNLOCKED
	atomic { TAKE_LOCK; holds = true };
#endif
#ifndef MUTANT_REDO
	if
	:: journal -> goto apply
	:: else
	fi;
#endif
bury:
	if
	:: m == MEMBERS -> goto unlock
#ifdef MUTANT_LIVING
	:: m < MEMBERS
#else
	:: m < MEMBERS && dead[m]
	:: m < MEMBERS && !dead[m] -> goto unlock
#endif
	fi;
#ifdef MUTANT_FREE
	RSTEP(dead[m] = false);
#endif
	RSTEP(p = doing[m]);
	if /* its word */
	:: slots[p % CAPACITY].at == p && slots[p % CAPACITY].who == m &&
	   (slots[p % CAPACITY].state == WRITING || slots[p % CAPACITY].state == READING) ->
		RSTEP(j_at = p; j_who = m; j_state = slots[p % CAPACITY].state);
		RSTEP(j_skipped = skipped + (j_state == WRITING));
		RSTEP(journal = true);
		goto apply
	:: else
	fi;
	RSTEP(dead[m] = false);
	m = MEMBERS;
unlock:
	RSTEP(assert(skipped == skips);
#ifndef MUTANT_UNLOCKED
	      locked = false;
#endif
	      holds = false);
	goto again;
apply:
	if
	:: j_state == READING -> RSTEP(any_returned = true)
	:: else
	fi;
	RSTEP(if
	      :: IS(j_at % CAPACITY, j_at, j_state, j_who) ->
		      if
		      :: j_state == WRITING -> SET(j_at % CAPACITY, j_at + CAPACITY, EMPTY, 0); skips++
		      :: else -> SET(j_at % CAPACITY, j_at, RETURNED, 0)
		      fi
	      :: else
	      fi);
	RSTEP(skipped = j_skipped);
	RSTEP(journal = false);
	goto bury
}

init {
	byte i;
	atomic {
		for (i : 0 .. CAPACITY - 1) { slots[i].at = i }
		for (i : 0 .. PRODUCERS - 1) { run producer(i) }
		for (i : PRODUCERS .. MEMBERS - 1) { run consumer(i) }
		for (i : 1 .. RECOVERERS) { run recoverer() }
	}
}
