#!/usr/bin/env bats
# array_shm.bats - pyprepctl array: by itself, over a daemon's workers, and with Python, which
# knows nothing of pyprep, at the same bytes.

load helpers

PYTHON=/usr/bin/python3

setup() {
	NAME=bats-array-$$-$BATS_TEST_NUMBER
	# no daemon, whatever runs on this machine
	export PYPREP_RUNTIME_DIR=$BATS_TEST_TMPDIR/none PYPREP_STATE_DIR=$BATS_TEST_TMPDIR/none
	mkdir -p "$PYPREP_RUNTIME_DIR"
}

teardown() {
	daemon_stop
	[ -z "${HOLDER:-}" ] || kill -KILL "$HOLDER" 2>/dev/null || true
	for each in "$NAME" "$NAME-b"; do
		pyprepctl array rm "$each" -q 2>/dev/null || true
		rm -f "/dev/shm/$each"
	done
	left=$(ls /dev/shm | grep -F "$NAME" || true)
	[ -z "$left" ] || { echo "left: $left"; return 1; }
}

python() {
	"$PYTHON" - "$@"
}

need_python() {
	"$PYTHON" -c 'import multiprocessing.shared_memory' 2>/dev/null || skip "no python3"
}

# sort_array ARGS...: sort it; nothing of it is left.  Its pid is in $SORT.
sort_array() {
	pyprepctl array sort "$NAME" "$@" 3>&- &
	SORT=$!
	wait "$SORT"
	[ ! -e "/dev/shm/sorting.$SORT" ]
}

@test "create, stat, ls, rm; a name taken, misspelt, gone" {
	says 0 "created array $NAME: f64, shape 10,20, size 1600" array create "$NAME" f64 10,20
	[ "$(stat -c %s "/dev/shm/$NAME")" -eq 1600 ]
	says 1 "'$NAME' is taken" array create "$NAME" f64 10
	says 2 "'f65' is no type" array create "$NAME-b" f65 10
	says 2 "did you mean 'f64'" array create "$NAME-b" f65 10
	says 2 "'0' is no shape" array create "$NAME-b" f64 0
	says 2 "cannot be a name" array create a/b f64 10
	says 2 "the mode is an octal number" array create "$NAME-b" f64 10 --mode 999
	says 3 "did you mean '$NAME'" array stat "${NAME}x"
	says 2 "did you mean 'create'" array crate "$NAME" f64 1
	says 2 "write: pyprepctl array fill NAME VALUE" array fill "$NAME"
	says 0 "f64, shape 10,20, 200 elements" array stat "$NAME"
	json ".schema == \"pyprep.array/1\" and (.name != \"$NAME\" or (.shape == [10,20] and .bytes == 1600 and .state == \"whole\" and .holders == []))" array ls --json
	pyprepctl array ls -q | grep -qxF "$NAME"
	says 0 "removed" array rm "$NAME"
	says 3 "there is no array '$NAME'" array rm "$NAME"
}

@test "arithmetic in this process: exact, and the same as in any other order" {
	pyprepctl array create "$NAME" i64 100000 -q
	says 0 "in this process" array fill "$NAME" -3
	[ "$(pyprepctl array sum "$NAME" -q)" = -300000 ]
	says 0 "dot product 900000" array dot "$NAME" "$NAME"
	pyprepctl array scale "$NAME" 4503599627370496 -q
	[ "$(pyprepctl array sum "$NAME" -q)" = -1351079888211148800000 ]
	says 0 "100000 elements did not fit i64" array scale "$NAME" 1000
	[ "$(pyprepctl array sum "$NAME" -q)" = -922337203685477580800000 ]
	says 2 "cannot be 2.5" array fill "$NAME" 2.5
	says 2 "cannot be 1e5" array fill "$NAME" 1e5
	says 2 "the factor is a decimal number" array scale "$NAME" nan
	pyprepctl array random "$NAME" --seed 3 -q
	one=$(pyprepctl array sum "$NAME" -q)
	says 0 "sorted" array sort "$NAME"
	[ "$(pyprepctl array sum "$NAME" -q)" = "$one" ]
	json '.head == (.head | sort_by(tonumber)) and (.head[0] | tonumber) == (.min | tonumber)' array show "$NAME" --json
	pyprepctl array create "$NAME-b" f32 100000 -q
	says 2 "are not alike" array dot "$NAME" "$NAME-b"
}

@test "over the workers: the same numbers to the last bit, and nothing of it stays mapped" {
	pyprepctl array create "$NAME" f64 1000,1000 -q
	pyprepctl array random "$NAME" --seed 5 -q
	here=$(pyprepctl array sum "$NAME" -q)
	dot=$(pyprepctl array dot "$NAME" "$NAME" -q)
	daemon_start
	[ "$(pyprepctl array sum "$NAME" -q)" = "$here" ]
	[ "$(pyprepctl array dot "$NAME" "$NAME" -q)" = "$dot" ]
	json '.by == "jobs" and .pool == "cpu" and .items_again == 0' array sum "$NAME" --json
	says 0 "in this process" array sum "$NAME" --here
	sort_array >"$BATS_TEST_TMPDIR/sort"
	grep -q "by jobs in pool cpu" "$BATS_TEST_TMPDIR/sort"
	sum=$(pyprepctl array sum "$NAME" -q)
	pyprepctl array random "$NAME" --seed 5 -q
	[ "$(pyprepctl array sum "$NAME" -q)" = "$here" ]
	pyprepctl array sort "$NAME" --here -q
	[ "$(pyprepctl array sum "$NAME" -q)" = "$sum" ]
	says 0 "by jobs in pool cpu" array scale "$NAME" 0
	[ "$(pyprepctl array sum "$NAME" -q)" = 0 ]
	says 2 "there is no pool" array sum "$NAME" --pool nosuch
	# the workers let go when they have been idle
	until_true json '.mapped_by == []' array stat "$NAME" --json
}

@test "over the workers: an array cut short costs a worker its life and nobody else" {
	pyprepctl array create "$NAME" f64 1000000 -q
	daemon_start
	[ "$(pyprepctl array sum "$NAME" -q)" = 0 ]
	truncate -s 4096 "/dev/shm/$NAME"
	status=0
	timeout 300 pyprepctl array sum "$NAME" -q || status=$?
	[ "$status" -ne 0 ] && [ "$status" -ne 124 ]
	says 0 "succeeded" submit sumsq n=10
}

@test "another user's array: the workers say so, --here works" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	id nobody >/dev/null || skip "no user nobody"
	pyprepctl array create "$NAME" f64 1000 --mode 0644 -q
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$PYPREP_BIN/pyprepctl" array sum "$NAME" -q --here
	if [[ $output == *ermission* ]]; then skip "nobody cannot run $PYPREP_BIN"; fi
	[ "$output" = 0 ]
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$PYPREP_BIN/pyprepctl" array fill "$NAME" 1 --here
	[ "$status" -eq 77 ]
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$PYPREP_BIN/pyprepctl" array rm "$NAME"
	[ "$status" -eq 77 ]
}

@test "a daemon of another user: its workers may not open it, and say what to do" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	setpriv --reuid 65534 --regid 65534 --clear-groups "$PYPREP_BIN/pyprepd" --version >/dev/null 2>&1 ||
		skip "nobody cannot run $PYPREP_BIN"
	PRIVATE=$(mktemp -d)
	chmod 755 "$PRIVATE"
	export PYPREP_RUNTIME_DIR=$PRIVATE/run PYPREP_STATE_DIR=$PRIVATE/state
	install -d -o 65534 -g 65534 "$PYPREP_RUNTIME_DIR" "$PYPREP_STATE_DIR"
	setpriv --reuid 65534 --regid 65534 --clear-groups "$PYPREP_BIN/pyprepd" >"$PRIVATE/log" 2>&1 3>&- &
	DAEMON=$!
	pyprepctl ping -q --wait 60
	pyprepctl array create "$NAME" f64 1000 -q
	says 1 "the workers may not open array \"$NAME\"" array fill "$NAME" 1
	says 1 "or work on it with --here" array scale "$NAME" 2
	says 0 "in this process" array fill "$NAME" 1 --here
	pyprepctl array rm "$NAME" -q
	pyprepctl array create "$NAME" f64 1000 --mode 0666 -q
	says 0 "by jobs" array fill "$NAME" 1
	[ "$(pyprepctl array sum "$NAME" -q)" = 1000 ]
}

@test "map and submit take the kinds of arrays, too" {
	pyprepctl array create "$NAME" u8 100000 -q
	daemon_start
	pyprepctl map array_fill 0..4 "name=$NAME" value=2 -q
	[ "$(pyprepctl map array_fill 0..4 "name=$NAME" value=2 -o - | xargs)" = "32768 32768 32768 1696" ]
	says 1 "items of work, not 4" map array_fill 0..5 "name=$NAME" value=2
	json '.result == "200000"' submit array_sum "name=$NAME" --json
	says 2 "needs name" map array_sum 0..4
}

# ---- holders ----

@test "hold: counted while the command runs; its status is the command's" {
	pyprepctl array create "$NAME" u8 10 -q
	says 7 "" array hold "$NAME" -- sh -c 'exit 7'
	[ "$(pyprepctl array hold "$NAME" -- pyprepctl array stat "$NAME" --json | jq '.holders | length')" = 1 ]
	says 127 "cannot run" array hold "$NAME" -- /no/such/command
}

held_by_living() {
	[ "$(pyprepctl array stat "$NAME" --json | jq '.holders | length')" = "$1" ]
}

@test "a holder killed: who still holds it, and a weak name that goes with the last" {
	pyprepctl array create "$NAME" u8 10 --weak -q
	mkfifo "$BATS_TEST_TMPDIR/end"
	pyprepctl array hold "$NAME" -- cat "$BATS_TEST_TMPDIR/end" 3>&- &
	HOLDER=$!
	until_true held_by_living 1
	until_true pgrep -P "$HOLDER" -x cat
	# not `array sum`, not `array show`: who only looks does not count
	pyprepctl array sum "$NAME" -q
	says 0 "holders: $HOLDER (pyprepctl)" array stat "$NAME"
	kill -KILL "$HOLDER"
	wait "$HOLDER" 2>/dev/null || true
	: >"$BATS_TEST_TMPDIR/end" # the command lives on, not held; it ends now
	json '.state == "left" and .holders == [] and .dead_holders == 1' array stat "$NAME" --json
	says 3 "there is no array" array sum "$NAME"
	json '.arrays >= 1' array collect --json
	[ ! -e "/dev/shm/$NAME" ]
}

# ---- Python ----

@test "Python, unmodified, attaches to an array and changes its bytes" {
	need_python
	pyprepctl array create "$NAME" f64 3,4 -q
	pyprepctl array fill "$NAME" 2.5 -q
	python "$NAME" <<-'END'
		import sys
		from multiprocessing import resource_tracker, shared_memory
		shm = shared_memory.SharedMemory(name=sys.argv[1])
		resource_tracker.unregister(shm._name, "shared_memory")  # before 3.13; then track=False
		assert shm.size == 96, shm.size
		try:
		    import numpy
		    a = numpy.ndarray((3, 4), dtype="float64", buffer=shm.buf)
		    assert a.sum() == 30.0
		    a[2, 3] = 10
		    del a
		except ImportError:
		    a = shm.buf.cast("d")
		    assert sum(a) == 30.0
		    a[11] = 10
		    a.release()
		shm.close()
	END
	[ "$(pyprepctl array sum "$NAME" -q)" = 37.5 ]
	json '.tail[-1] == 10' array show "$NAME" --json
	says 0 "; whole" array stat "$NAME"
}

@test "numpy agrees: random, sum, sort, for every type" {
	"$PYTHON" -c 'import numpy' 2>/dev/null || skip "no numpy"
	for type in int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64; do
		pyprepctl array create "$NAME" "$type" 70000 -q
		pyprepctl array random "$NAME" --seed 11 -q
		sum=$(pyprepctl array sum "$NAME" -q)
		cp "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/before"
		pyprepctl array sort "$NAME" -q
		python "$type" "$BATS_TEST_TMPDIR/before" "/dev/shm/$NAME" "$sum" <<-'END'
			import math, sys, numpy
			kind, before, after, total = sys.argv[1:]
			a, b = numpy.fromfile(before, kind), numpy.fromfile(after, kind)
			assert len(a) == 70000
			assert (numpy.sort(a) == b).all(), kind
			if kind.startswith("float"):
			    exact = math.fsum(a.astype("float64"))
			    assert abs(float(total) - exact) <= 1e-12 * exact, (kind, total, exact)
			    assert 0 <= a.min() and a.max() < 1
			else:
			    assert int(total) == sum(int(x) for x in a), (kind, total)
		END
		pyprepctl array rm "$NAME" -q
	done
}

@test "a segment that Python made is adopted, and both write to it" {
	need_python
	python "$NAME" <<-'END' 3>&- &
		import sys, time, os
		from multiprocessing import shared_memory
		shm = shared_memory.SharedMemory(name=sys.argv[1], create=True, size=800)
		a = shm.buf.cast("q")
		for i in range(100):
		    a[i] = i
		deadline = time.monotonic() + 120
		while a[0] == 0 and time.monotonic() < deadline:
		    time.sleep(0.01)
		ok = a[0] == -1
		a.release()
		shm.close()
		shm.unlink()
		sys.exit(0 if ok else 1)
	END
	python=$!
	written() { [ "$(od -An -td8 -j792 -N8 "/dev/shm/$NAME" | tr -d ' ')" = 99 ]; }
	until_true written
	says 2 "fewer bytes" array adopt "$NAME" i64 101
	says 0 "adopted array $NAME" array adopt "$NAME" i64 10,10
	[ "$(pyprepctl array sum "$NAME" -q)" = 4950 ]
	json '.adopted and .mapped_by != []' array stat "$NAME" --json
	pyprepctl array fill "$NAME" -1 -q
	wait "$python"
	# Python removed its segment: said, and not to be restored
	says 0 "name gone" array stat "$NAME"
	says 1 "was removed by the program that made it" array restore "$NAME"
	json '.arrays >= 1' array collect --json
}

@test "Python's resource tracker removes the name of what it only attached to; restore gives it back" {
	need_python
	"$PYTHON" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || skip "3.13 has track=False"
	pyprepctl array create "$NAME" i64 100 -q
	pyprepctl array fill "$NAME" 7 -q
	# no unregister: at its end the tracker unlinks what this process attached to
	python "$NAME" 2>"$BATS_TEST_TMPDIR/said" <<-'END'
		import sys
		from multiprocessing import shared_memory
		shm = shared_memory.SharedMemory(name=sys.argv[1])
		shm.buf[0] = 8
		shm.close()
	END
	until_true test ! -e "/dev/shm/$NAME"
	grep -q "leaked shared_memory objects" "$BATS_TEST_TMPDIR/said"
	says 1 "pyprepctl array restore $NAME" array sum "$NAME"
	pyprepctl array ls | grep -F "$NAME" | grep -q "name gone"
	says 0 "restored array $NAME" array restore "$NAME"
	[ "$(pyprepctl array sum "$NAME" -q)" = 701 ]
	says 1 "has its name" array restore "$NAME"
}

@test "nobody's name is taken: what Python has is refused to create" {
	need_python
	head -c 100 /dev/zero >"/dev/shm/$NAME"
	says 1 "'$NAME' is taken" array create "$NAME" i8 10
	[ "$(stat -c %s "/dev/shm/$NAME")" = 100 ]
}

# ---- deaths under the work ----

# The pid of the first worker of cpu into $worker, when it has one.
first_worker() {
	worker=$(pyprepctl status --json | jq '.pools[] | select(.name == "cpu").workers[0].pid')
	[ "${worker:-0}" -gt 1 ] && kill -0 "$worker"
}

# Right whenever the kill comes; the sleeps only make it come at different times.
@test "a worker killed under a sort: done again, and right" {
	pyprepctl array create "$NAME" f64 3000000 -q
	pyprepctl array random "$NAME" --seed 2 -q
	cp "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/before"
	pyprepctl array sort "$NAME" --here -q
	cp "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/sorted"
	daemon_start
	for i in 1 2 3; do
		dd if="$BATS_TEST_TMPDIR/before" of="/dev/shm/$NAME" conv=notrunc status=none
		until_true first_worker
		pyprepctl array sort "$NAME" --json >"$BATS_TEST_TMPDIR/out" 3>&- &
		SORT=$!
		sleep 0.0$i
		kill -KILL "$worker"
		wait "$SORT"
		cmp "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/sorted"
		[ ! -e "/dev/shm/sorting.$SORT" ]
	done
}

second_there() {
	[ -e "/dev/shm/sorting.$SORT" ]
}

@test "a sort itself killed: its second array is collected" {
	pyprepctl array create "$NAME" f64 3000000 -q
	pyprepctl array random "$NAME" -q
	daemon_start
	# the workers stand still: the sort cannot end before it is seen
	workers=$(pyprepctl status --json | jq '.pools[] | select(.name == "cpu").workers[].pid')
	kill -STOP $workers
	pyprepctl array sort "$NAME" -q 3>&- &
	SORT=$!
	until_true second_there
	kill -KILL "$SORT"
	wait "$SORT" || true
	kill -CONT $workers
	json '.state == "left" and .dead_holders == 1' array stat "sorting.$SORT" --json
	pyprepctl array collect -q
	never second_there
}

merging() { # into the array itself: it is not as it was
	! cmp -s "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/before"
}

@test "a sort interrupted in a merge: the array has all its elements" {
	pyprepctl array create "$NAME" f64 3000000 -q
	pyprepctl array random "$NAME" --seed 4 -q
	cp "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/before"
	pyprepctl array sort "$NAME" --here -q
	cp "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/sorted"
	daemon_start
	for i in 1 2 3; do
		dd if="$BATS_TEST_TMPDIR/before" of="/dev/shm/$NAME" conv=notrunc status=none
		pyprepctl array sort "$NAME" -q 3>&- &
		SORT=$!
		until_true merging
		kill -TERM "$SORT" || true
		wait "$SORT" || true
		never second_there
		pyprepctl array sort "$NAME" --here -q
		cmp "/dev/shm/$NAME" "$BATS_TEST_TMPDIR/sorted"
	done
}
