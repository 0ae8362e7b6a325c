# drill.bats - pyprepctl drill: what is promised holds, and a store that forgets is found out.
bats_require_minimum_version 1.5.0
load helpers

# held DRILL FOR: it ends well, with so many checks and no daemon left.
held() {
	run -0 --separate-stderr pyprepctl drill "$1" --for "$2" --seed 11 --json
	[ "$(jq -r .drill <<<"$output")" = "$1" ]
	[ "$(jq '[.checks[] | select(.held | not)] | length' <<<"$output")" = 0 ]
	[ "$(jq '.checks | length' <<<"$output")" -ge 5 ]
	[ "$(jq '.figures.acknowledged' <<<"$output")" -gt 0 ]
}

@test "drill worker-kill" { held worker-kill 2s; }
@test "drill broker-kill" { held broker-kill 3s; }
@test "drill daemon-kill" { held daemon-kill 2s; }
@test "drill oom" { held oom 1s; }
@test "drill clock-jump" { held clock-jump 2s; }
@test "drill hang" { held hang 2s; }
@test "drill fd-exhaustion" { held fd-exhaustion 1s; }

@test "drill disk-full" {
	[ "$(id -u)" = 0 ] || skip "mounts a small disk: root only"
	held disk-full 1s
}

@test "drill: a store that forgets is found out" {
	run -1 --separate-stderr pyprepctl drill daemon-kill --for 2s --seed 11 --forgets --json
	[ "$(jq '[.checks[] | select(.held | not)] | length' <<<"$output")" -gt 0 ]
}

@test "drill: bad words" {
	run -2 pyprepctl drill
	[[ $output == *"name one drill: worker-kill"* ]]
	run -2 pyprepctl drill worker-kil
	[[ $output == *"did you mean 'worker-kill'?"* ]]
}
