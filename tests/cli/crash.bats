# crash.bats - kill -9 at a call of the daemon's, and what had been acknowledged.
bats_require_minimum_version 1.5.0
load helpers

@test "killed at a sync, a daemon loses nothing that was acknowledged" {
	run -0 "$BATS_TEST_DIRNAME/../fault/crash_points" fdatasync 12
	[[ $output == *" 0 with a loss, 0 wedged"* ]]
	[[ $output != *"fdatasync: 0 points"* ]]
}

@test "... and an acknowledgement that was none is found out" {
	run -1 "$BATS_TEST_DIRNAME/../fault/crash_points" none
	[[ $output == *"1 with a loss"* ]]
}
