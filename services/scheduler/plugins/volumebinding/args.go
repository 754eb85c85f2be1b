package volumebinding

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"
)

// maxTimeout is the longest time that fits a duration, in seconds.
const maxTimeout = int64(math.MaxInt64 / time.Second)

// DefaultArgs returns the arguments of a plugin that has been given none.
func DefaultArgs() *configv1.VolumeBindingArgs {
	args := &configv1.VolumeBindingArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open.
func SetDefaults(args *configv1.VolumeBindingArgs) {
	if args.BindTimeoutSeconds == nil {
		args.BindTimeoutSeconds = ptr.To[int64](600)
	}
}

// Validate returns what is wrong with arguments that have their defaults.
func Validate(path *field.Path, args *configv1.VolumeBindingArgs) field.ErrorList {
	var errs field.ErrorList
	if s := *args.BindTimeoutSeconds; s < 0 || s > maxTimeout {
		errs = append(errs, field.Invalid(path.Child("bindTimeoutSeconds"), s, "must be 0, for not waiting, or more"))
	}
	if len(args.Shape) > 0 {
		errs = append(errs, field.Forbidden(path.Child("shape"), "must not be set: nodes are not scored by the capacity of volumes"))
	}
	return errs
}
