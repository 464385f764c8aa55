import { catalogSuite } from '../conformance/catalog-suite.ts';
import { startRealDynamo } from './dynamo-endpoint.ts';

catalogSuite('DynamoDB Local', startRealDynamo);
