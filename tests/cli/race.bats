# race.bats - one daemon for each runtime directory, however many are started at once.
bats_require_minimum_version 1.5.0
load helpers

@test "eight starts at once have one winner, and nothing is taken from a living daemon" {
	run -0 "$BATS_TEST_DIRNAME/../fault/race_starts" 10
	[[ $output == *"10 rounds: 10 with one winner; 9 began with a dead daemon's socket; 2 living ones left alone; 0 wrong"* ]]
}

@test "... and in directories of their own all eight win" {
	run -0 "$BATS_TEST_DIRNAME/../fault/race_starts" 1 apart
	[[ $output == *"8 winners"* ]]
}
