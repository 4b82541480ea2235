import { testStack } from '../../fixtures/stack-tests.ts'

testStack('botan')
