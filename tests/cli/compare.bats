#!/usr/bin/env bats
# compare.bats - pyprepctl compare: pyprep and CPython on the same work, each alone where the other
# is missing, and that nothing remains.

load helpers

setup_file() {
	daemon_start
	daemon_share
}

teardown_file() {
	daemon_of_file
	daemon_stop
}

setup() {
	daemon_of_file
}

# What compare and its Python could leave: counters, directories and shared memory of processes
# that are no more.  Names carry the pid.
leftovers() {
	{
		pyprepctl counter ls -q | grep -- '^compare-'
		find /tmp /dev/shm -maxdepth 1 -user "$(id -u)" | grep -E '(compare|pyprep-python)-[0-9]+'
	} | while read -r name; do
		[ -e "/proc/$(grep -oE -- '(compare|python)-[0-9]+' <<<"$name" | head -n 1 | tr -dc 0-9)" ] ||
			echo "$name"
	done | sort
}

# Was nothing left since `before` was taken?
nothing_left() {
	local left
	left=$(comm -13 <(echo "$before") <(leftovers))
	[ -z "$left" ] || { echo "left: $left"; return 1; }
}

# ways BY: the ways of $json_lines with whether they were measured
ways() {
	jq -r --arg by "$1" 'select(.schema == "pyprep.compare/2" and .by == $by) | "\(.way) \(.done)"' \
		<<<"$json_lines" | xargs
}

@test "compare: wrong words" {
	says 2 "compare what? there are: cpu" compare
	says 2 "there is no comparison 'pip'; did you mean 'pipe'?" compare cpu pip
	says 2 "there is no comparison 'disk'; there are: cpu" compare disk
	says 2 "1" compare cpu --repeats 0
}

@test "compare cpu: four ways here, four there; the event loop refuses to compute" {
	json '.schema == "pyprep.compare-said/1" or (.schema == "pyprep.compare/2" and
		.topic == "cpu" and .work == "sumsq" and .unit == "ns" and .machine.cpus >= 1 and
		(.python | startswith("CPython 3")) and
		(if .done then (.values | length) == 2 and .least <= .value and .value <= .most and
			.speed_up > 0 else .way == "event" and .problem != null end))' \
		compare cpu --quick --repeats 2 --json
	[ "$ctl_status" -eq 0 ]
	[ "$(ways pyprep)" = "sequential true process true thread true event false" ]
	[ "$(ways CPython)" = \
		"sequential true multiprocessing.Pool true ThreadPoolExecutor true asyncio true" ]
	says 0 'does not run kind "sumsq"' compare cpu --quick --repeats 1
}

@test "compare io: an event loop waits for all sleeps at once" {
	json 'true' compare io --quick --repeats 1 --json
	[ "$ctl_status" -eq 0 ]
	[ "$(ways pyprep)" = "sequential true process true thread true event true" ]
	# one after another never comes to this; a loaded machine may need another turn
	at_once() {
		pyprepctl compare io --quick --repeats 1 --json | jq -es 'any(.way == "event" and .speed_up > 4)'
	}
	jq -es 'any(.way == "event" and .speed_up > 4)' <<<"$json_lines" || until_true at_once
}

@test "compare: the sentences are the figures'" {
	json 'true' compare pipe --quick --repeats 3 --json
	[ "$ctl_status" -eq 0 ]
	jq -es '[.[] | select(.by == "CPython" and .way == "send_bytes, recv_bytes")] as $python |
		[.[] | select(.by == "pyprep")] as $ours |
		[.[] | select(.said)][0].said as $said |
		all(range(3); . as $i | (if $ours[$i].unit == "ns"
			then $python[$i].value / $ours[$i].value
			else $ours[$i].value / $python[$i].value end) as $ratio |
			($ratio - $python[$i].pyprep_times_as_fast | fabs) < 0.001 and
			($ours[$i].least <= $python[$i].most and $python[$i].least <= $ours[$i].most)
				== ($said[$i] | contains("turns overlap")) and
			($said[$i] | contains("overlap") or
				contains(if $ratio > 1 then ": pyprep\u0027s" else ": CPython\u0027s" end)))' \
		<<<"$json_lines"
}

@test "compare: every topic can be measured, and leaves nothing" {
	before=$(leftovers)
	json '.topic != null' compare all --quick --repeats 1 --json
	[ "$ctl_status" -eq 0 ]
	[ "$(jq -r '.topic' <<<"$json_lines" | uniq | xargs)" = "$(pyprepctl help compare |
		sed -nE 's/^  ([a-z]+)  +[^ ].*/\1/p' | grep -v pyprepctl | xargs)" ]
	nothing_left
}

@test "compare: without python3 pyprep is measured alone" {
	export PYPREP_PYTHON=/nonexistent/python3
	says 0 "There is no python3 in PATH" compare pipe --quick --repeats 1
	says 0 "does not run kind" compare cpu --quick --repeats 1
	json '.said or (.python == null and .done == (.by == "pyprep"))' \
		compare pipe shm --quick --repeats 1 --json
	[ "$ctl_status" -eq 0 ]
	jq -es 'any(.said == [])' <<<"$json_lines"
}

@test "compare: a Python that does not do its part is told, and the rest goes on" {
	cat >"$BATS_TEST_TMPDIR/python" <<-'END'
		#!/bin/sh
		[ "$3" = version ] && exec python3 "$@"
		echo "no such module" >&2
		exit 1
	END
	chmod +x "$BATS_TEST_TMPDIR/python"
	export PYPREP_PYTHON=$BATS_TEST_TMPDIR/python
	says 1 "Python's pipe failed: no such module" compare pipe --quick --repeats 1
	json '.said or .done == (.by == "pyprep")' compare pipe --quick --repeats 1 --json
	[ "$ctl_status" -eq 1 ]
}

@test "compare: without a daemon the jobs are not compared, pipes are" {
	export PYPREP_RUNTIME_DIR=$BATS_TEST_TMPDIR
	says 69 "" compare cpu --quick
	says 0 "round trip" compare pipe --quick --repeats 1
	[ "$(pyprepctl compare all --quick --repeats 1 --json 2>/dev/null |
		jq -r 'select(.by == "pyprep") | .topic' | uniq | xargs)" = "queue pipe shm" ]
}

@test "compare: interrupted, it leaves no process and nothing else" {
	before=$(leftovers)
	pyprepctl compare shm >/dev/null 2>&1 3>&- &
	compare=$!
	python_is_there() {
		part=$(pgrep -P "$compare" | head -n 1)
		keeper=$(pgrep -P "${part:-0}" | head -n 1)
		python=$(pgrep -P "${keeper:-0}" | head -n 1)
		[ -n "$part" ] && [ -n "$keeper" ] && [ -n "$python" ]
	}
	until_true python_is_there
	kill -TERM "$compare"
	status=0
	wait "$compare" || status=$?
	[ "$status" -eq 143 ]
	for pid in "$part" "$keeper" "$python"; do
		[ ! -e "/proc/$pid" ]
	done
	nothing_left
}

@test "compare: interrupted, it leaves no counter" {
	before=$(leftovers)
	pyprepctl compare manager >/dev/null 2>&1 3>&- &
	compare=$!
	has_counter() { pyprepctl counter ls -q | grep -q "^compare-$compare\$"; }
	until_true has_counter
	kill -TERM "$compare"
	status=0
	wait "$compare" || status=$?
	[ "$status" -eq 143 ]
	nothing_left
}
