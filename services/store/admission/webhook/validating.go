package webhook

import (
	"context"
	"fmt"
	"sync"

	"navarch.dev/navarch/services/store/admission"
)

// validating is the rule that asks validating hooks, all at once.
type validating struct{ dispatcher }

// Mutate implements admission.Plugin.
func (*validating) Mutate(context.Context, *admission.Request) error { return nil }

// Validate implements admission.Plugin.
func (v *validating) Validate(ctx context.Context, r *admission.Request) error {
	hooks, err := v.hooks(ctx, r)
	if err != nil {
		return err
	}
	var asked []*invocation
	for _, h := range hooks {
		i, err := v.match(ctx, h, r)
		if err != nil {
			return err
		}
		if i != nil {
			asked = append(asked, i)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if err := outOfTime(ctx); err != nil {
		return err
	}
	return v.askAll(ctx, asked)
}

// askAll returns the refusal of the first hook, in their order, that refuses.
func (v *validating) askAll(ctx context.Context, asked []*invocation) error {
	errs := make([]error, len(asked))
	var wg sync.WaitGroup
	for n, i := range asked {
		wg.Go(func() {
			key := fmt.Sprintf(validationKey, n)
			if _, err := i.call(ctx, false); err != nil && !v.admits(ctx, i.hook, i.request, key, err) {
				errs[n] = refusal(err)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
