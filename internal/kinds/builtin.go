package kinds

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/validation"
)

// builtin lists every kind, group by group. Each group's entries are in the
// file named for the group.
func builtin() []*Kind {
	return slices.Concat(
		coreKinds(),
		appsKinds(),
		batchKinds(),
		autoscalingKinds(),
		networkingKinds(),
		discoveryKinds(),
		policyKinds(),
		rbacKinds(),
		storageKinds(),
		resourceKinds(),
		schedulingKinds(),
		coordinationKinds(),
		eventsKinds(),
		nodeKinds(),
		certificatesKinds(),
		flowcontrolKinds(),
		storageMigrationKinds(),
		admissionKinds(),
		registrationKinds(),
		extensionKinds(),
		authenticationKinds(),
		authorizationKinds(),
	)
}

// object makes the constructors of a kind from its object and list types.
func object[O any, L any, PO interface {
	*O
	Object
}, PL interface {
	*L
	List
}](k Kind) *Kind {
	k.newObject = func() Object { return PO(new(O)) }
	k.newList = func() List { return PL(new(L)) }
	return k.filled()
}

// review makes the constructor of a create-only kind.
func review[O any, PO interface {
	*O
	Object
}](k Kind) *Kind {
	k.CreateOnly = true
	k.newObject = func() Object { return PO(new(O)) }
	k.newList = func() List { return nil }
	return k.filled()
}

// filled gives a kind what every kind has and most need not say.
func (k Kind) filled() *Kind {
	if k.NameRule == nil {
		k.NameRule = validation.NameIsDNSSubdomain
	}
	if len(k.Columns) == 0 {
		k.Columns = columns(ageColumn())
	}
	k.typeURL = typeURLPrefix + MessageName(k.newObject())
	k.disabled = disabledFields(&k)
	k.deprecated = deprecationOf(k.newObject(), k.GVK())
	return &k
}
