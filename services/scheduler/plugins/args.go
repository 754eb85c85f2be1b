package plugins

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins/balancedallocation"
	"navarch.dev/navarch/services/scheduler/plugins/dynamicresources"
	"navarch.dev/navarch/services/scheduler/plugins/interpodaffinity"
	"navarch.dev/navarch/services/scheduler/plugins/nodeaffinity"
	"navarch.dev/navarch/services/scheduler/plugins/noderesources"
	"navarch.dev/navarch/services/scheduler/plugins/preemption"
	"navarch.dev/navarch/services/scheduler/plugins/topologyspread"
	"navarch.dev/navarch/services/scheduler/plugins/volumebinding"
	"navarch.dev/navarch/services/scheduler/strictjson"
)

// Entry is a plugin that profiles can have.
type Entry struct {
	// decode reads arguments strictly; nil data is none, which gives the
	// defaults. It is nil for plugins that take no arguments.
	decode func(path *field.Path, name string, data []byte) (any, field.ErrorList)
	// create makes the plugin with what decode returned.
	create func(env Environment, args any) (framework.Plugin, error)
}

// New makes the plugin with its default arguments.
func (e Entry) New(env Environment) (framework.Plugin, error) {
	if e.decode == nil {
		return e.create(env, nil)
	}
	args, errs := e.decode(nil, "", nil)
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return e.create(env, args)
}

// plain is a plugin that takes no arguments.
func plain(create func(Environment) framework.Plugin) Entry {
	return Entry{create: func(env Environment, _ any) (framework.Plugin, error) { return create(env), nil }}
}

// kind is arguments of the type A: its defaults, its rules, and its plugin.
type kind[A any] struct {
	setDefaults func(*A)
	validate    func(*field.Path, *A) field.ErrorList
	create      func(Environment, *A) (framework.Plugin, error)
}

// entry makes an Entry of it. A is a Kubernetes object, *A that is.
func (k kind[A]) entry() Entry {
	return Entry{
		decode: func(path *field.Path, name string, data []byte) (any, field.ErrorList) {
			args := new(A)
			if len(data) > 0 {
				if errs := strictjson.Decode(path, data, args); len(errs) > 0 {
					return nil, errs
				}
				if errs := checkType(path, name, args); len(errs) > 0 {
					return nil, errs
				}
			}
			k.setDefaults(args)
			return args, k.validate(path, args)
		},
		create: func(env Environment, args any) (framework.Plugin, error) {
			typed, ok := args.(*A)
			if !ok {
				return nil, fmt.Errorf("arguments are %T, not %T", args, typed)
			}
			return k.create(env, typed)
		},
	}
}

// checkType says whether the arguments say that they are another plugin's.
func checkType(path *field.Path, name string, args any) field.ErrorList {
	obj, ok := args.(runtime.Object)
	if !ok {
		return nil
	}
	have := obj.GetObjectKind().GroupVersionKind()
	want := configv1.SchemeGroupVersion.WithKind(name + "Args")
	var errs field.ErrorList
	if !have.GroupVersion().Empty() && have.GroupVersion() != want.GroupVersion() {
		errs = append(errs, field.NotSupported(path.Child("apiVersion"), have.GroupVersion().String(), []string{want.GroupVersion().String()}))
	}
	if have.Kind != "" && have.Kind != want.Kind {
		errs = append(errs, field.NotSupported(path.Child("kind"), have.Kind, []string{want.Kind}))
	}
	return errs
}

func nodeAffinity() Entry {
	return kind[configv1.NodeAffinityArgs]{
		func(*configv1.NodeAffinityArgs) {}, nodeaffinity.Validate,
		func(_ Environment, args *configv1.NodeAffinityArgs) (framework.Plugin, error) {
			return nodeaffinity.New(args)
		},
	}.entry()
}

func nodeResourcesFit() Entry {
	return kind[configv1.NodeResourcesFitArgs]{
		noderesources.SetDefaults, noderesources.Validate,
		func(env Environment, args *configv1.NodeResourcesFitArgs) (framework.Plugin, error) {
			if env.Extenders != nil {
				args = args.DeepCopy()
				args.IgnoredResources = append(args.IgnoredResources, env.Extenders.Ignored...)
			}
			return noderesources.New(args, env.standsForResource, env.stock), nil
		},
	}.entry()
}

func volumeBinding() Entry {
	return kind[configv1.VolumeBindingArgs]{
		volumebinding.SetDefaults, volumebinding.Validate,
		func(env Environment, args *configv1.VolumeBindingArgs) (framework.Plugin, error) {
			return volumebinding.New(args, env.Storage, env.Volumes), nil
		},
	}.entry()
}

func dynamicResources() Entry {
	return kind[configv1.DynamicResourcesArgs]{
		dynamicresources.SetDefaults, dynamicresources.Validate,
		func(env Environment, args *configv1.DynamicResourcesArgs) (framework.Plugin, error) {
			return dynamicresources.New(args, env.Devices, env.Claims, env.Events), nil
		},
	}.entry()
}

func podTopologySpread() Entry {
	return kind[configv1.PodTopologySpreadArgs]{
		topologyspread.SetDefaults, topologyspread.Validate,
		func(env Environment, args *configv1.PodTopologySpreadArgs) (framework.Plugin, error) {
			return topologyspread.New(args, env.Groups), nil
		},
	}.entry()
}

func interPodAffinity() Entry {
	return kind[configv1.InterPodAffinityArgs]{
		interpodaffinity.SetDefaults, interpodaffinity.Validate,
		func(env Environment, args *configv1.InterPodAffinityArgs) (framework.Plugin, error) {
			return interpodaffinity.New(args, env.Namespaces), nil
		},
	}.entry()
}

func defaultPreemption() Entry {
	return kind[configv1.DefaultPreemptionArgs]{
		preemption.SetDefaults, preemption.Validate,
		func(env Environment, args *configv1.DefaultPreemptionArgs) (framework.Plugin, error) {
			return preemption.New(args, env.Preemption), nil
		},
	}.entry()
}

func balancedAllocation() Entry {
	return kind[configv1.NodeResourcesBalancedAllocationArgs]{
		balancedallocation.SetDefaults, balancedallocation.Validate,
		func(env Environment, args *configv1.NodeResourcesBalancedAllocationArgs) (framework.Plugin, error) {
			return balancedallocation.New(args, env.stock), nil
		},
	}.entry()
}
