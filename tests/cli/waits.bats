#!/usr/bin/env bats
# waits.bats - jobs that wait, as users of pyprepctl see them: hold and release, --after, --need,
# --rate, --key; what is refused, in which words and with which status.

load helpers

setup_file() {
	cat >"$BATS_FILE_TMPDIR/conf" <<-END
		[pool "cpu"]
		executor = process
		workers = 2
		[pool "shell"]
		executor = command
		workers = 2
		[resource "db"]
		limit = 2
		[resource "gpu"]
		limit = 1
	END
	daemon_start --config "$BATS_FILE_TMPDIR/conf"
	daemon_share
}

teardown_file() {
	daemon_of_file
	daemon_stop
}

setup() {
	daemon_of_file
}

detach() {
	pyprepctl submit --detach -q "$@"
}

@test "hold and release: by hand, and --hold" {
	id=$(detach --hold noop)
	says 0 "job $id" show "$id"
	[[ $output == *queued* ]]
	says 0 "released 1 job" release "$id"
	says 0 "succeeded" wait "$id"
	other=$(detach --delay 3600 noop)
	says 0 "held 1 job" hold "$other"
	json '.schema == "pyprep.hold/1" and .held == 1' hold "$other" --json
	json '.schema == "pyprep.release/1" and .released == 1' release "$other" --json
	says 0 "" release -q "$other"
	[ -z "$output" ]
	says 0 "cancelled 1 job" cancel "$other"
}

@test "hold and release: what cannot be" {
	says 2 "hold takes one id or more" hold
	says 2 "a job's id is a whole number from 1, not 'x'" release x
	says 3 "no such job, or it has ended already: 4000000000" hold 4000000000
	id=$(detach exec -- sleep 60)
	until_true job_is_running "$id"
	says 2 "running already, only queued jobs are held and released: $id" hold "$id"
	says 0 "cancelled 1 job" cancel "$id"
}

job_is_running() {
	[ "$(pyprepctl show "$1" --json | jq -r .state)" = running ]
}

@test "--after: runs behind, fails with, and is refused" {
	good=$(detach noop)
	says 0 "succeeded" submit noop --after "$good"
	bad=$(detach fail)
	says 1 "job $bad, which had to succeed before this one starts, ended as failed" submit noop --after "$bad"
	json '.error.code == "dependency_failed" and .cause == "dependency"' submit noop --after "$bad" --json
	says 0 "succeeded" submit noop --after "$bad:any"
	says 0 "succeeded" submit noop --after "$good,$bad:any"
	says 3 "job 4000000000 does not exist yet" submit noop --after 4000000000
}

@test "--after: a script's three steps" {
	one=$(detach --hold exec -- sh -c "echo one >>$PRIVATE/steps")
	two=$(detach --after "$one" exec -- sh -c "echo two >>$PRIVATE/steps")
	three=$(detach --after "$two" exec -- sh -c "echo three >>$PRIVATE/steps")
	says 0 "" release "$one"
	says 0 "succeeded" wait "$three"
	[ "$(paste -sd' ' "$PRIVATE/steps")" = "one two three" ]
}

@test "--need: shown in status, given back, refused by name" {
	id=$(detach --need db=2 exec -- sleep 60)
	until_status '.resources[] | select(.name == "db") | .limit == 2 and .used == 2 and .waiting == 0'
	waits=$(detach --need db noop)
	until_status '.resources[] | select(.name == "db") | .waiting == 1'
	says 0 "db " status
	says 0 "succeeded" submit noop --need gpu
	says 0 "" cancel "$id"
	says 0 "succeeded" wait "$waits"
	until_status '.resources[] | select(.name == "db") | .used == 0 and .waiting == 0'
	says 2 'there is no resource "dbb"; did you mean "db"?' submit noop --need dbb
	says 2 'there is only 2 of "db", 3 were asked for' submit noop --need db=3
}

@test "--need: a reload changes what there is" {
	says 2 'there is only 1 of "gpu", 3 were asked for' submit noop --need gpu=3
	sed -i '/"gpu"/,$s/limit = 1/limit = 5/' "$BATS_FILE_TMPDIR/conf"
	printf '[resource "tape"]\nlimit = 1\n' >>"$BATS_FILE_TMPDIR/conf"
	says 0 "resource gpu: limit 1, now 5" reload
	[[ $output == *"resource tape: is new, limit 1"* ]]
	says 0 "succeeded" submit noop --need gpu=3 --need tape
	sed -i '/"tape"/,$d' "$BATS_FILE_TMPDIR/conf"
	says 0 "resource tape: is gone; jobs that need it wait" reload
	says 2 'there is no resource "tape"' submit noop --need tape
}

@test "--rate: so many starts in any time so long" {
	pyprepctl submit noop -n 12 --rate key:shop=4/200ms --json >"$BATS_TEST_TMPDIR/receipts"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/receipts")" -eq 12 ]
	until_status '[.rates[] | select(.group == "key:shop")] | length <= 1'
	says 2 "rate" submit noop --rate nonsense
}

@test "--key: one at most; --if-exists says what happens to the next" {
	id=$(detach --key nightly exec -- sleep 60)
	says 1 "job $id has the key \"nightly\" and has not ended" submit noop --key nightly
	says 1 "job $id has the key \"nightly\"" submit --detach noop --key nightly
	[ "$(detach --key nightly --if-exists return noop)" = "$id" ]
	says 1 "\"return\" is for detached jobs" submit noop --key nightly --if-exists return
	says 0 "succeeded" submit noop --key nightly --if-exists replace
	[ "$(pyprepctl show "$id" --json | jq -r .state)" = cancelled ]
}
