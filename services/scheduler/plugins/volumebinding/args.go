package volumebinding

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/scheduler/shape"
)

// maxTimeout is the longest time that fits a duration, in seconds.
const maxTimeout = int64(math.MaxInt64 / time.Second)

// DefaultArgs returns the arguments of a plugin that has been given none.
func DefaultArgs() *configv1.VolumeBindingArgs {
	args := &configv1.VolumeBindingArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open: nodes of whose space the
// claims take the least are best.
func SetDefaults(args *configv1.VolumeBindingArgs) {
	if args.BindTimeoutSeconds == nil {
		args.BindTimeoutSeconds = ptr.To[int64](600)
	}
	if len(args.Shape) == 0 {
		args.Shape = []configv1.UtilizationShapePoint{{Utilization: 0, Score: 10}, {Utilization: 100, Score: 0}}
	}
}

// Validate returns what is wrong with arguments that have their defaults.
func Validate(path *field.Path, args *configv1.VolumeBindingArgs) field.ErrorList {
	var errs field.ErrorList
	if s := *args.BindTimeoutSeconds; s < 0 || s > maxTimeout {
		errs = append(errs, field.Invalid(path.Child("bindTimeoutSeconds"), s, "must be 0, for not waiting, or more"))
	}
	return append(errs, shape.Validate(path.Child("shape"), args.Shape)...)
}
