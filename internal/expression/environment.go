package expression

import (
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/ext"
)

// base returns the environment that all expressions share: the language's
// options and the functions.
var base = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		cel.CostEstimatorOptions(checker.PresenceTestHasCost(false)),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(), cel.ValidateHomogeneousAggregateLiterals(),
		),
		ext.Strings(ext.StringsVersion(2)), ext.Sets(), ext.TwoVarComprehensions(), ext.Lists(ext.ListsVersion(3)),
		functions(listFunctions(), regexFunctions(), urlFunctions(), quantityFunctions(), ipFunctions(), cidrFunctions(),
			formatFunctions(), semverFunctions(), authorizerFunctions()),
	)
})

// declared are the environments by what they declare beside variables. They
// take milliseconds to make.
var declared sync.Map // of Declarations without Variables to func() (*cel.Env, error)

// environment returns the environment of expressions that may use what d says.
func environment(d Declarations) (*cel.Env, error) {
	variables := d.Variables
	d.Variables = nil
	make, _ := declared.LoadOrStore(d, sync.OnceValues(func() (*cel.Env, error) { return declare(d) }))
	env, err := make.(func() (*cel.Env, error))()
	if err != nil || variables == nil {
		return env, err
	}
	return variables.extend(env)
}

func declare(d Declarations) (*cel.Env, error) {
	env, err := base()
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{
		cel.CustomTypeProvider(&structs{Provider: env.CELTypeProvider(), types: requestTypes(), patches: d.Patches}),
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("request", cel.ObjectType(requestType)), cel.Variable("namespaceObject", cel.ObjectType(namespaceType)),
	}
	if d.Params {
		options = append(options, cel.Variable("params", cel.DynType))
	}
	if d.Authorizer {
		options = append(options, cel.Variable("authorizer", authorizerType), cel.Variable("authorizer.requestResource", resourceCheckType))
	}
	if d.Patches {
		options = append(options, functions(patchFunctions()))
	}
	return env.Extend(options...)
}
