package userns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// owner is the user whose subordinate IDs are for pods, on a machine where an
// administrator has set some aside. It is the name that kubelets look for.
const owner = "kubelet"

// OfMachine returns the IDs that pods may have: those that are subordinate to the
// user "kubelet" where there is such a user and the program getsubids, else all but
// those of the machine's own users, as for kubelets.
func OfMachine(ctx context.Context, perPod uint32) (Range, error) {
	var unknown user.UnknownUserError
	if _, err := user.Lookup(owner); errors.As(err, &unknown) {
		return Default(perPod), nil
	} else if err != nil {
		return Range{}, fmt.Errorf("look for the user %s: %w", owner, err)
	}
	program, err := exec.LookPath("getsubids")
	if errors.Is(err, exec.ErrNotFound) {
		return Default(perPod), nil
	}
	if err != nil {
		return Range{}, fmt.Errorf("look for getsubids: %w", err)
	}
	users, err := exec.CommandContext(ctx, program, owner).Output()
	if err != nil {
		return Range{}, fmt.Errorf("ask for the user IDs of %s: %w", owner, err)
	}
	groups, err := exec.CommandContext(ctx, program, "-g", owner).Output()
	if err != nil {
		return Range{}, fmt.Errorf("ask for the group IDs of %s: %w", owner, err)
	}
	if string(users) != string(groups) {
		return Range{}, fmt.Errorf("the user IDs of %s, %q, are not its group IDs, %q", owner, users, groups)
	}
	return parseSubIDs(string(users))
}

// parseSubIDs reads what getsubids says, "0: kubelet 65536 7208960": an index, the
// user, the first ID and how many.
func parseSubIDs(text string) (Range, error) {
	fields := strings.Fields(text)
	if lines := strings.Count(strings.TrimSpace(text), "\n") + 1; lines != 1 || len(fields) != 4 {
		return Range{}, fmt.Errorf("the IDs of %s, %q, are not one range", owner, text)
	}
	first, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		return Range{}, fmt.Errorf("the first ID of %s: %w", owner, err)
	}
	length, err := strconv.ParseUint(fields[3], 10, 32)
	if err != nil {
		return Range{}, fmt.Errorf("the number of IDs of %s: %w", owner, err)
	}
	return Range{First: uint32(first), Length: uint32(length)}, nil
}
